"""The page on which clips are rated: what the server takes, and the page in a real browser."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence
from starlette.testclient import TestClient

from benchmarks.curation import true_rating
from genie.labeling.curate import CurationSession, Ratings, create_app

HOST = "127.0.0.1:8001"


@pytest.fixture
def session(footage, tmp_path):
    order = [footage.windows[number] for number in (40, 3, 77, 12)]
    return CurationSession(footage, Ratings(tmp_path / "labels.csv", footage), order, enough=3)


@pytest.fixture
def client(session):
    return TestClient(create_app(session), base_url=f"http://{HOST}")


def on_disk(session):
    values = Ratings(session.answers.path, session.footage).values
    return {session.order.index(window): rating for window, rating in values.items()}


def test_clips_come_one_after_the_other(client, session):
    only_best = {"1": 0, "2": 0, "3": 0, "4": 0, "5": 1}
    assert client.get("/state").json()["number"] == 0
    state = client.post("/rate", json={"number": 0, "value": 5}).json()
    assert (state["number"], state["next"], state["rated"], state["counts"]) == (1, 2, 1, only_best)
    assert on_disk(session) == {0: 5}
    assert client.post("/rate", json={"number": 1, "value": None}).json()["skipped"] == 1
    assert client.post("/rate", json={"number": 0, "value": 1}).json()["counts"] == only_best  # was rated
    assert on_disk(session) == {0: 5, 1: None}
    for _ in range(2):
        state = client.post("/undo", json=None).json()
    assert state["number"] == 0 and on_disk(session) == {}
    for number in range(4):
        state = client.post("/rate", json={"number": number, "value": 2}).json()
    assert state["number"] is None and state["where"] is None and state["rated"] == 4


def test_the_same_command_goes_on_where_it_was(client, session):
    client.post("/rate", json={"number": 0, "value": 5})
    again = CurationSession(session.footage, Ratings(session.answers.path, session.footage), session.order, 3)
    assert again.state()["number"] == 1 and again.state()["rated"] == 1


def test_a_clip_loops_in_its_own_pixels(client, session, mix):
    play = next(window for window in session.footage.windows if true_rating(window, mix[1]) == 5)
    session.order[2] = play
    frames = []
    with Image.open(io.BytesIO(client.get("/clips/2.png").content)) as picture:
        assert picture.info["loop"] == 0
        for frame in ImageSequence.Iterator(picture):  # frames that are the same are one that lasts longer
            lasts = frame.info["duration"] * session.footage.fps / 1000
            frames += [np.asarray(frame.convert("RGB"))] * round(lasts)
    np.testing.assert_array_equal(frames, session.footage.frames(play))
    assert client.get("/clips/4.png").status_code == client.get("/clips/-1.png").status_code == 404


@pytest.mark.parametrize("given", [{"number": 0, "value": 6}, {"number": 0, "value": "x"}, {"value": 3}, [1], "no"])
def test_what_is_no_rating_is_refused(client, session, given):
    assert client.post("/rate", json=given).status_code == 422
    assert on_disk(session) == {}


def test_other_pages_cannot_rate(client, session):
    answer = client.post("/rate", json={"number": 0, "value": 1}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403 and on_disk(session) == {}
    assert client.get("/state", headers={"host": "evil.example"}).status_code == 403


def test_a_file_that_cannot_be_written_is_said(client, session):
    session.answers.path.mkdir()
    answer = client.post("/rate", json={"number": 0, "value": 1})
    assert answer.status_code == 500 and "cannot write" in answer.json()["detail"]
    assert client.get("/state").json()["rated"] == 0


def test_the_page_with_the_keyboard(session, open_page):
    with open_page(create_app(session)) as (page, rated):
        assert page.evaluate("document.getElementById('clip').naturalWidth") == 64
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for count, key in enumerate(("5", "1"), 1):
            page.keyboard.press(key)
            rated(count)
        page.keyboard.press("Backspace")
        rated(1)
        page.click("#answers button:nth-child(4)")
        rated(2)
        assert on_disk(session) == {0: 5, 1: 4}
        assert "1 to go" in page.inner_text("#progress")
        page.keyboard.press("3")
        rated(3)
        page.keyboard.press("s")
        page.wait_for_selector("#shown", state="hidden")
        assert "last clip" in page.inner_text("#where") and "enough" in page.inner_text("#progress")
    assert on_disk(session) == {0: 5, 1: 4, 2: 3, 3: None}
