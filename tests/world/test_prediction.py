"""The error of imagined observations: nothing where a world is right, and what is known where it is wrong."""

from dataclasses import replace

import pytest
import torch

from genie.evaluation.prediction import actions_between, prediction_errors


def clips(world, count=12, length=6):
    """True clips of a line: observations [N, T, 1] and actions [N, T-1]."""
    actions = torch.randint(3, (count, length - 1))
    state = world.reset(torch.empty(count, 1, 1).uniform_(-0.5, 0.5))
    seen = [state.places]
    for action in actions.unbind(1):
        state, step = world.step(state, action)
        seen.append(step.observation)
    return torch.stack(seen, dim=1), actions


def test_a_world_that_is_right_has_no_error(line_world):
    world = line_world()
    observations, actions = clips(world)
    errors = prediction_errors(world, observations, actions, prompt=2, batch_size=5, seed=0)
    assert len(errors.error) == len(errors.error_copy_last) == 4
    assert max(errors.error) == pytest.approx(0, abs=1e-6) and min(errors.error_copy_last) > 0.1
    assert errors.token_error is None


def test_an_error_counts_in_standard_deviations(line_world):
    """A world that thinks that nothing ever moves is the copy; one that is off by d a step is off by h·d after h."""

    class Still(line_world):
        def moves(self, actions):
            return torch.zeros(len(actions), 1)

    class Drifting(line_world):
        def step(self, state, actions, decode=True):
            state, step = super().step(state, actions)
            state = replace(state, places=state.places + 0.1)
            return state, replace(step, observation=state.places)

    observations, actions = clips(line_world())
    still = prediction_errors(Still(), observations, actions, 2, 5, 0)
    assert still.error == pytest.approx(still.error_copy_last)
    drifting = prediction_errors(Drifting(), observations, actions, 2, 5, 0)
    spread = float(observations.flatten().std())
    assert drifting.error == pytest.approx([0.1 * step / spread for step in (1, 2, 3, 4)], rel=1e-4)


def test_tokens_are_compared_with_those_of_the_true_frames(world):
    frames = torch.rand(3, 5, 3, 8, 12)
    actions = actions_between(world, frames, None)
    errors = prediction_errors(world, frames, actions, prompt=2, batch_size=2, seed=4)
    true = world.tokenizer.encode(frames)
    copied = [(true[:, 1] != true[:, at]).float().mean().item() for at in (2, 3, 4)]
    assert errors.token_error_copy_last == pytest.approx(copied) and max(copied) > 0
    steps = world.steps(frames[:, :2], actions[:, 1:], seed=4, prompt_actions=actions[:, :1])
    made = [(step.tokens != true[:, at]).float().mean().item() for at, step in enumerate(steps, 2)]
    assert errors.token_error == pytest.approx(made)
