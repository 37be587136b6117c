"""The action that acts when nothing is pressed, where no name tells which."""

from dataclasses import replace

import pytest
import torch

from genie.play_server.calmest import calmest_action
from genie.world.world_model import WorldModel


@pytest.fixture(autouse=True)
def no_names(monkeypatch):
    """Other tests evaluate the same run, which names its actions."""
    monkeypatch.setattr("genie.play_server.labels.suggest", lambda run, num_actions, *_: [None] * num_actions)


@pytest.fixture
def moving(monkeypatch):
    """moving(*amounts): in all worlds, action i now adds amounts[i] to each pixel of the picture before it."""
    real = WorldModel.step

    def patch(*amounts):
        def step(self, state, actions, decode=True):
            after, made = real(self, state, actions, decode)
            moved = self.decode(state) * 0.5 + torch.tensor(amounts)[actions][:, None, None, None]
            return after, replace(made, observation=moved)

        monkeypatch.setattr(WorldModel, "step", step)
        monkeypatch.setattr(WorldModel, "decode", lambda self, state: torch.zeros(len(state), 3, *self.image_size))

    return patch


@pytest.mark.parametrize(
    ("amounts", "calmest"),
    [((0.5, 0.1, 0.3), 1), ((0.5, 0.4, 0.0), 2), ((0.2, 0.1, 0.1), 1), ((0.3, 0.3, 0.3), 0)],
)
def test_the_smallest_change_of_the_picture_wins_and_of_equal_ones_the_lowest(load, moving, amounts, calmest):
    game = load()
    moving(*amounts)
    before = game.world.sampler
    assert calmest_action(game.world, game.prompt, game.clips) == calmest
    assert calmest_action(game.world, game.prompt, None) == calmest  # a picture of the player's, without data
    assert game.world.sampler == before


def test_it_acts_when_nothing_is_pressed_unless_a_name_or_the_player_says_which(load, moving):
    moving(0.5, 0.4, 0.0)
    assert load().idle == 2
    assert load("play.actions={0: up, 2: down}").idle == 2
    assert load("play.actions={1: stay}").idle == 1
    assert load("play.idle=0").idle == 0


def test_the_world_is_as_calm_every_time(load):
    first = load()
    assert first.idle == load().idle == calmest_action(first.world, first.prompt, first.clips)
