"""Pictures of the page for docs/play.md, of the world that comes with the package.

    GENIE_PICTURES=docs/images python -m pytest tests/play_server/test_pictures.py

writes play.png and play_phone.png there; without it they are only taken and looked at.
"""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from genie.common.cli import resolved
from genie.play_server.play import load_game

RALLY = 747  # a validation clip with the ball in flight


@pytest.fixture(scope="module")
def pong(serving):
    """The address of a page with the shipped world."""
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        game = load_game(
            resolved("play", ["run=pretrained/pong", f"prompt_clip={RALLY}", "device=cpu", "play.threads=1"])
        )
    with serving(game) as where:
        yield where


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("play", {"viewport": {"width": 1280, "height": 900}}),
        ("play_phone", {"viewport": {"width": 390, "height": 640}, "has_touch": True, "is_mobile": True}),
    ],
)
def test_the_shipped_world_is_played_beside_the_real_game(pong, browser, complaints, tmp_path, name, options):
    context = browser.new_context(color_scheme="light", **options)
    page = context.new_page()
    complaints(page)
    page.goto(f"{pong}/?real=1")
    number = "Number(document.getElementById('world').dataset.frame ?? 0)"

    def plays_to(count):
        deadline = time.time() + 60
        while page.evaluate(number) < count:
            assert time.time() < deadline
            time.sleep(0.02)

    plays_to(6)
    page.keyboard.down("ArrowUp")
    plays_to(12)
    folder = Path(os.environ.get("GENIE_PICTURES", tmp_path))
    page.screenshot(path=folder / f"{name}.png")
    page.keyboard.up("ArrowUp")
    with Image.open(folder / f"{name}.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    held = np.abs(pixels - (31, 111, 92)).max(1) < 8  # the button of the held action
    player = np.abs(pixels - (92, 186, 92)).max(1) < 12
    assert held.mean() > 0.005 and player.sum() > 20
    context.close()
