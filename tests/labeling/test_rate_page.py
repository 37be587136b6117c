"""The page on which segments are compared: what the server takes, and the page in a real browser."""

import io

import numpy as np
import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from starlette.testclient import TestClient

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.labeling.rate import PreferenceSession, create_app, open_session, rate

HOST = "127.0.0.1:8002"


@pytest.fixture
def session(readers, preferences, pairs):
    return PreferenceSession(readers, preferences(), pairs[:3], enough=2, fps=10.0)


@pytest.fixture
def client(session):
    return TestClient(create_app(session), base_url=f"http://{HOST}")


def test_pairs_come_one_after_the_other(client, session, preferences):
    assert client.get("/state").json()["number"] == 0
    state = client.post("/rate", json={"number": 0, "value": "other"}).json()
    assert (state["number"], state["next"], state["rated"], state["counts"]["other"]) == (1, 2, 1, 1)
    assert client.post("/rate", json={"number": 1, "value": None}).json()["skipped"] == 1
    assert client.post("/rate", json={"number": 0, "value": "this"}).json()["counts"]["this"] == 0  # was rated
    assert preferences().values == {session.order[0]: "other", session.order[1]: None}
    assert client.post("/undo", json=None).json()["number"] == 1
    for number in (1, 2):
        state = client.post("/rate", json={"number": number, "value": "equal"}).json()
    assert state["number"] is None and state["rated"] == 3


def test_both_segments_are_shown_in_their_own_pixels(client, session, readers):
    for side in ("this", "other"):
        window = getattr(session.order[1], side)
        with Image.open(io.BytesIO(client.get(f"/pairs/1/{side}.png").content)) as picture:
            shown = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(shown, readers[window.part].frames(window.first, window.stop)[0])
    assert client.get("/pairs/3/this.png").status_code == client.get("/pairs/0/left.png").status_code == 404


@pytest.mark.parametrize("given", [{"number": 0, "value": "left"}, {"value": "this"}, [1], "no"])
def test_what_is_no_verdict_is_refused(client, session, given):
    assert client.post("/rate", json=given).status_code == 422 and not session.answers.values


def test_other_pages_cannot_rate(client, session):
    answer = client.post("/rate", json={"number": 0, "value": "this"}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403 and not session.answers.values


def composed(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("rate", list(overrides))


def test_the_command_shows_the_data_of_the_world(world_run, tmp_path):
    given = [f"run={world_run}", f"ratings={tmp_path / 'p.csv'}", "num_frames=6", "pairs=5"]
    session = open_session(composed(*given))
    assert len(session.order) == 5 and session.fps == 10
    assert all(pair.this.part == "train" and pair.this.stop - pair.this.first == 6 for pair in session.order)
    for wrong, words in [("num_frames=1", "num_frames=1"), ("pairs=0", "pairs=0"), ("page.port=70000", "page.port")]:
        with pytest.raises(UserError, match=words):
            rate(composed(*given, wrong))


def test_the_page_with_the_keyboard(session, preferences, open_page):
    with open_page(create_app(session)) as (page, rated):
        assert page.evaluate("document.getElementById('other').naturalWidth") == 64
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("ArrowRight")
        rated(1)
        page.keyboard.press("Backspace")
        rated(0)
        page.keyboard.press("ArrowLeft")
        rated(1)
        page.keyboard.press("e")
        rated(2)
        page.keyboard.press("s")
        page.wait_for_selector("#shown", state="hidden")
        assert "last pair" in page.inner_text("#where") and "enough" in page.inner_text("#progress")
    assert list(preferences().values.values()) == ["this", "equal", None]
