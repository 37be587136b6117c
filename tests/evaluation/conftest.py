"""Clips of a line, of which everything is known."""

import pytest
import torch

from data_modules.held_out_clips import Clips


@pytest.fixture
def line_clips():
    """line_clips(world, count, length, batch_size): true clips of a world of numbers under random actions."""

    def make(world, count=12, length=6, batch_size=5):
        actions = torch.randint(3, (count, length), generator=torch.Generator().manual_seed(0))
        state = world.reset(torch.empty(count, 1, 1).uniform_(-0.5, 0.5))
        states, rewards, ends = [state.places], [], []
        for action in actions.unbind(1):
            state, step = world.step(state, action)
            states.append(step.observation)
            rewards.append(step.reward)
            ends.append(step.terminal)
        columns = {"actions": actions, "rewards": torch.stack(rewards, 1), "terminals": torch.stack(ends, 1)}
        states = torch.stack(states[:-1], dim=1)
        return Clips(None, objects=None, info=None, batch_size=batch_size, states=states, **columns)

    return make
