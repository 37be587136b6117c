"""The error of imagined observations: nothing where a world is right, and what is known where it is wrong."""

from dataclasses import replace

import pytest
import torch

from data_modules.held_out_clips import Clips
from genie.evaluation.imagination import imagine_clips, prediction_errors
from genie.evaluation.latent_actions import actions_between
from genie.evaluation.rollout import clip_seeds


def errors_of(world, clips, prompt=2, seed=0):
    return prediction_errors(world, clips, imagine_clips(world, clips, prompt, seed))


def test_a_world_that_is_right_has_no_error(line_world, line_clips):
    errors = errors_of(line_world(), line_clips(line_world()))
    assert set(errors) == {"state_error", "state_error_copy_last"} and {len(curve) for curve in errors.values()} == {4}
    assert max(errors["state_error"]) == pytest.approx(0, abs=1e-6) and min(errors["state_error_copy_last"]) > 0.1


def test_an_error_counts_in_standard_deviations(line_world, line_clips):
    """A world that thinks that nothing ever moves is the copy; one that is off by d a step is off by h·d after h."""

    class Still(line_world):
        def moves(self, actions):
            return torch.zeros(len(actions), 1)

    class Drifting(line_world):
        def step(self, state, actions, decode=True):
            state, step = super().step(state, actions)
            state = replace(state, places=state.places + 0.1)
            return state, replace(step, observation=state.places)

    clips = line_clips(line_world())
    still = errors_of(Still(), clips)
    assert still["state_error"] == pytest.approx(still["state_error_copy_last"])
    spread = float(clips.states.flatten().std())
    drifting = errors_of(Drifting(), clips)["state_error"]
    assert drifting == pytest.approx([0.1 * step / spread for step in (1, 2, 3, 4)], rel=1e-4)


def test_tokens_are_compared_with_those_of_the_true_frames(tokens_world):
    world = tokens_world
    clips = Clips(torch.randint(0, 256, (3, 5, 3, 8, 12), dtype=torch.uint8), None, None, None, batch_size=2)
    errors, frames = errors_of(world, clips, seed=4), clips.floats()
    true = world.tokenizer.encode(frames)
    copied = [(true[:, 1] != true[:, at]).float().mean().item() for at in (2, 3, 4)]
    assert errors["token_error_copy_last"] == pytest.approx(copied) and max(copied) > 0
    actions, seeds = actions_between(world, clips), clip_seeds(4, range(3), 0)
    steps = list(world.steps(frames[:, :2], actions[:, 1:], seed=seeds, prompt_actions=actions[:, :1]))
    made = [(step.tokens != true[:, at]).float().mean().item() for at, step in enumerate(steps, 2)]
    assert errors["token_error"] == pytest.approx(made)
    off = [(step.observation - frames[:, at]).square().mean().sqrt().item() for at, step in enumerate(steps, 2)]
    assert errors["pixel_error"] == pytest.approx(off, abs=1e-5)
