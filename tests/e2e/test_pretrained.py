"""The world that comes with the package is what its model card says, on the episodes beside it."""

import json

import pytest
import torch
from hydra import initialize_config_module

from genie.common.cli import resolved
from genie.common.settings.schema import typed
from genie.common.shipped import HOME, unpacked
from genie.evaluation.evaluate import evaluate_runs
from genie.prompts.data_clips import PromptClips
from genie.world.opening import open_world

LIMIT = 10 * 2**20  # bytes


@pytest.fixture(scope="module")
def card():
    """The figures of the model card."""
    return json.loads((HOME / "pong" / "evaluation" / "evaluation.json").read_text())


def test_it_is_small_and_names_no_machine():
    files = [path for path in (HOME / "pong").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LIMIT
    for path in files:
        if path.suffix in (".json", ".md"):
            assert not any(word in path.read_text() for word in ("/tmp", "/home/", "/root/", "/work/"))


def test_it_is_as_good_as_its_card_says(card, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with initialize_config_module("conf", version_base="1.3"):
        config = resolved("evaluate", ["run=pretrained/pong", "parts=[tokenizer,lam,rollout]", "num_clips=24"])
    found = evaluate_runs(typed("evaluate", unpacked(config.plain())))[0].values
    assert found["tokenizer"]["psnr"] == pytest.approx(card["tokenizer"]["psnr"], abs=2)
    assert found["lam"]["action_nmi"] == pytest.approx(card["lam"]["action_nmi"], abs=0.08)
    ours, theirs = (one["rollout_objects"]["ball"]["rally"]["generated"] for one in (found, card))
    for place in (0, 9):  # 1 and 10 frames after the prompt
        assert ours["in_place_by_horizon"][place] >= theirs["in_place_low_by_horizon"][place] - 0.1
    assert found["rollout_objects"]["player"]["obedience"]["correlation"] > 0.97


@torch.no_grad()
def test_after_a_hundred_frames_it_is_still_pong():
    world = open_world("pretrained/pong")
    clips = PromptClips(world.config["data"], world.image_size, 4)
    frames = torch.stack([clips[index][0] for index in range(0, len(clips), max(1, len(clips) // 4))][:4])
    state, step = world.reset(frames, seed=0), None
    generator = torch.Generator().manual_seed(0)
    for _ in range(34):
        actions = torch.randint(3, (len(frames),), generator=generator)
        for _ in range(3):
            state, step = world.step(state, actions)
    field = frames.flatten(0, 1).median(0).values
    changed = (step.observation - field).abs().amax(1) > 0.1
    assert (changed.flatten(1).sum(1) > 0).all() and (changed.flatten(1).sum(1) < 60).all()  # two paddles and a ball
