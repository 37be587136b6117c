"""Objects of rollouts in a drawn game: a ball between walls, and a player that the recorded actions move."""

import json

import numpy as np
import pytest
import torch

from data_modules.data_info import DataInfo
from data_modules.held_out_clips import Clips
from genie.common.files import plain
from genie.evaluation.rollout_objects import RolloutObjects

SIZE, PROMPT, HORIZON, NUM_CLIPS = 32, 3, 8, 6
LENGTH = PROMPT + HORIZON
COLORS = torch.tensor([[255, 255, 255], [0, 255, 0]], dtype=torch.uint8)  # of ball and player


def draw(ball, player, more=()):
    """uint8 [3, H, W]: squares of 2 pixels and a player of 2 x 6 at these centres; no ball is None."""
    frame = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    for (x, y), half in ([(one, 1) for one in (ball, *more) if one is not None]) + [(player, 3)]:
        color = COLORS[int(half == 3)][:, None, None]
        frame[:, max(int(y - half + 0.5), 0) : int(y + half + 0.5), int(x - 0.5) : int(x + 1.5)] = color
    return frame


@pytest.fixture
def game():
    """frames [N, T, 3, H, W], where ball and player are [N, T, 2, 2], actions [N, T]."""
    actions = torch.randint(0, 3, (NUM_CLIPS, LENGTH), generator=torch.Generator().manual_seed(3))
    places = torch.empty(NUM_CLIPS, LENGTH, 2, 2)
    for clip in range(NUM_CLIPS):
        ball, speed, player = torch.tensor([4.5 + 3 * clip, 15.5]), torch.tensor([1.0, -2.0]), 15.5
        for t in range(LENGTH):
            places[clip, t] = torch.stack([ball, torch.tensor([28.5, player])])
            beyond = (ball + speed < 1) | (ball + speed > SIZE - 2)
            speed = torch.where(beyond, -speed, speed)
            ball = ball + speed
            player = min(max(player + 2 * (int(actions[clip, t]) - 1), 5.5), 26.5)
    frames = torch.stack([torch.stack([draw(*one) for one in clip]) for clip in places.tolist()])
    return frames, places, actions


def measured(game, generated, tmp_path, batch_size=4):
    frames, places, actions = game
    info = DataInfo(3, ["up", "stay", "down"], ["ball", "player"], 10.0, (SIZE, SIZE), np.zeros((3, SIZE, SIZE)))
    clips = Clips(frames, actions, places, info, batch_size)
    objects = RolloutObjects(clips, PROMPT, HORIZON)
    for first, batch in zip(range(0, NUM_CLIPS, batch_size), clips.batches(), strict=True):
        true = batch.floats()
        made = generated[first : first + batch_size].float() / 255
        rows = {"": made, "_copy_last": true[:, PROMPT - 1 : PROMPT], "_reconstruction": true[:, PROMPT:]}
        objects.update(rows, batch)
    return objects.figures(tmp_path)


def test_the_game_itself_is_what_figures_are_of(game, tmp_path):
    found = measured(game, game[0][:, PROMPT:], tmp_path)
    ball, player = found["ball"]["rally"], found["player"]
    assert ball["clips_by_horizon"] == [NUM_CLIPS] * HORIZON and ball["frames"] == NUM_CLIPS * HORIZON
    assert ball["generated"]["in_place"] == ball["reconstruction"]["in_place"] == 1
    assert ball["generated"]["in_place_low"] < 0.8 < 1 == pytest.approx(ball["generated"]["in_place_high"])
    assert ball["constant_velocity"]["in_place"] > 0.9 > ball["copy_last"]["in_place"]  # walls and all
    assert "obedience" not in found["ball"]
    obeyed = player["obedience"]
    assert obeyed["axis"] == "y" and obeyed["sign_accuracy"] == 1 and obeyed["correlation"] == pytest.approx(1)
    assert list(obeyed["actions"]) == ["up", "stay", "down"]
    for moves in obeyed["actions"].values():
        assert moves["generated"] == pytest.approx(moves["true"], abs=1e-3)
    assert obeyed["actions"]["up"]["true"] < -1 < 1 < obeyed["actions"]["down"]["true"]
    assert (tmp_path / "rollout_objects.png").stat().st_size > 10_000
    json.dumps(plain(found))


def test_a_rally_ends_with_the_truth_and_not_with_the_world(game, tmp_path):
    """The world loses the ball of clip 0 in its 3rd frame, doubles that of clip 1 in its 2nd; the game that of clip 2
    in the 4th, where it is served again later, and the world invents one."""
    frames, places, actions = (part.clone() for part in game)
    generated = frames[:, PROMPT:].clone()
    for t in range(2, HORIZON):
        generated[0, t] = draw(None, places[0, PROMPT + t, 1].tolist())
    ball, player = places[1, PROMPT + 1].tolist()
    generated[1, 1] = draw(ball, player, [(5.5, 29.5)])
    for t in (3, 4):
        places[2, PROMPT + t, 0] = float("nan")
        frames[2, PROMPT + t] = draw(None, places[2, PROMPT + t, 1].tolist())
    found = measured((frames, places, actions), generated, tmp_path)["ball"]
    assert found["rally"]["clips_by_horizon"] == [6] * 3 + [5] * 5
    assert found["rally"]["generated"]["present_by_horizon"] == pytest.approx([1] * 2 + [5 / 6] + [4 / 5] * 5)
    assert found["rally"]["generated"]["doubled_by_horizon"] == pytest.approx([0, 1 / 6] + [0] * 6)
    assert found["generated"]["present_by_horizon"] == pytest.approx([1] * 2 + [5 / 6] + [4 / 5] * 2 + [5 / 6] * 3)
    assert found["generated"]["invented"] == 1 and found["absent"] == 2
    assert found["reconstruction"]["invented"] == 0 and found["reconstruction"]["doubled"] == 0
    # the tracker goes on where the game had a point, which is no picture of a ball that is not there
    assert found["rally"]["constant_velocity"]["present"] == 1


def test_the_size_of_batches_changes_nothing(game, tmp_path):
    generated = game[0][:, PROMPT:].roll(1, dims=1)
    assert plain(measured(game, generated, tmp_path, 1)) == plain(measured(game, generated, tmp_path, 6))
