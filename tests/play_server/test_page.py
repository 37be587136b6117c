"""The page in a real browser: it plays, keys change the picture, a video comes out, and nothing complains."""

import contextlib
import re
import threading
import time

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from genie.common.errors import UserError
from genie.common.web import Loading, bind, web_server
from genie.common.web import address as url
from genie.play_server.play import load_game
from genie.play_server.session import Session


@pytest.fixture(scope="module")
def game_served(play_config):
    settings = ["fps=30", "steps=2", "play.max_sessions=2", "play.actions={0: noop, 1: up, 2: down}"]
    return load_game(play_config(*settings))


@pytest.fixture(scope="module")
def address(game_served, serving):
    with serving(game_served) as where:
        yield where


@pytest.fixture
def open_page(browser, address, complaints):
    """open_page(): the page, with a world on it; afterwards no page has complained."""
    contexts = []

    def build(query="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        found = complaints(page)
        page.on("request", lambda request: request.url.startswith(("blob:", address)) or found.append(request.url))
        page.goto(address + query)
        return page

    yield build
    for context in contexts:
        context.close()


def until(page, expression, seconds=20):
    """Waits; the page's own policy forbids the browser to evaluate texts for Playwright's waiting."""
    deadline = time.time() + seconds
    while not page.evaluate(expression):
        assert time.time() < deadline, expression
        time.sleep(0.02)


def frame(page):
    return page.evaluate("Number(document.getElementById('world').dataset.frame ?? -1)")


def picture(page):
    return page.evaluate("document.getElementById('world').toDataURL()")


def plays(page, count):
    start = frame(page)
    until(page, f"Number(document.getElementById('world').dataset.frame) >= {start + count}")


def begins_again(page, reset):
    """Waits for the whole prompt after `reset` was called."""
    rollout = page.evaluate("Number(document.getElementById('world').dataset.rollout)")
    reset()
    data = "document.getElementById('world').dataset"
    until(page, f"Number({data}.rollout) > {rollout} && {data}.frame == 3")


def steps_holding(page, key, count=6):
    """The picture after so many single steps with a key held, from the beginning."""
    begins_again(page, lambda: page.keyboard.press("r"))
    page.keyboard.down(key)
    for _ in range(count):
        before = frame(page)
        page.keyboard.press(".")
        until(page, f"document.getElementById('world').dataset.frame == {before + 1}")
    page.keyboard.up(key)
    return picture(page)


FILMED = "[...document.querySelectorAll('#film canvas.made')]"


def test_play_keep_and_reload(open_page, tmp_path, read_video):
    page = open_page()
    plays(page, 1)
    for key, label in (("ArrowUp", "up"), ("3", "down"), ("ArrowUp", "up")):
        page.keyboard.down(key)
        until(page, f"document.querySelector('#actions .held')?.textContent.includes('{label}')")
        plays(page, 17)
        # on a busy machine, frames from before the key was pressed are still on their way
        until(page, f"{FILMED}.filter((one) => one.title.endsWith('{label}')).length > 15")
        page.keyboard.up(key)
    assert frame(page) > 50
    made = page.locator("#film canvas.made")
    assert made.count() > 45 and page.locator("#film canvas.given").count() == 4
    titles = [made.nth(i).get_attribute("title") for i in range(made.count())]
    assert sum(title.endswith("up") for title in titles) > 15 and sum(title.endswith("down") for title in titles) > 10
    assert re.match(r"[\d.]+ of 30", page.inner_text("#rate")) and page.inner_text("#passes") == "2"
    assert page.inner_text("#latency").endswith("ms") and page.inner_text("#model").endswith("ms")
    assert re.fullmatch(r"[\d.]+ nats", page.inner_text("#doubt"))  # an untrained world has no idea: as red as it gets
    outline = page.evaluate("getComputedStyle(document.getElementById('world')).outlineColor")
    assert outline.startswith("color(srgb 0.83")

    page.keyboard.press("p")
    until(page, "document.body.classList.contains('paused')")
    shown = None
    while shown != frame(page):  # what was on its way when it was paused still arrives
        shown = frame(page)
        page.wait_for_timeout(500)
    with page.expect_download() as download:
        page.click("#mp4")
    download.value.save_as(tmp_path / "session.mp4")
    frames, _ = read_video(tmp_path / "session.mp4")
    assert frames.shape[1:] == (256, 256, 3) and abs(len(frames) - shown - 1) <= 1
    assert len({one.tobytes() for one in frames}) > 10

    page.reload()
    plays(page, 5)
    assert frame(page) < 60


def test_actions_make_a_difference_and_a_seed_none(open_page):
    page = open_page()
    plays(page, 1)
    page.keyboard.press("p")
    until(page, "document.body.classList.contains('paused')")
    up, down, again = (steps_holding(page, key) for key in ("ArrowUp", "ArrowDown", "2"))
    assert up == again and up != down
    page.fill("#seed", "5")
    begins_again(page, lambda: page.keyboard.press("Tab"))
    page.evaluate("document.activeElement.blur()")
    assert steps_holding(page, "ArrowUp") != up


def test_with_the_keyboard_alone(open_page):
    """Every control is reached by Tab; what has the focus is outlined; a button is held by the space bar."""
    page = open_page()
    plays(page, 1)
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "(() => { const e = document.activeElement; const style = getComputedStyle(e.closest('#drop') ?? e);"
            "return [e.id || e.dataset.action || (e.dataset.clip ? 'one clip' : e.tagName), style.outlineStyle]; })()"
        )
        if name == "BODY":
            break
        assert outline != "none", name
        reached.append(name)
    controls = [
        "0",
        "1",
        "2",
        "pause",
        "back",
        "step",
        "reset",
        "clip",
        "file",
        "fps",
        "seed",
        "sampler",
        "steps",
        "temperature",
    ]
    assert [name for name in reached if name in controls][: len(controls)] == controls and "film" in reached
    page.focus("#actions button:nth-child(2)")
    page.keyboard.down(" ")
    until(page, "document.querySelector('#actions .held')?.dataset.action == '1'")
    page.keyboard.up(" ")
    until(page, "!document.querySelector('#actions .held')")
    page.focus("#fps")
    page.keyboard.press("ArrowUp")  # belongs to the number, not to the world
    assert page.evaluate("!document.querySelector('#actions .held')")


def count(page):
    return page.locator("#film canvas").count()


def test_back_in_time_a_fork_and_a_link(open_page, tmp_path):
    page = open_page()
    plays(page, 1)
    page.keyboard.press("p")
    until(page, "document.body.classList.contains('paused')")
    steps_holding(page, "ArrowUp", 4)
    up = picture(page)
    steps_holding(page, "ArrowDown", 8)
    pictures = page.evaluate("[...document.querySelectorAll('#film canvas')].map((one) => one.toDataURL())")
    assert len(pictures) == 12 and frame(page) == 11
    page.keyboard.press(",")
    until(page, "document.getElementById('world').dataset.frame == 10")
    assert picture(page) == pictures[10] and count(page) == 11
    page.locator("#film canvas").nth(6).click()
    until(page, "document.getElementById('world').dataset.frame == 6")
    assert picture(page) == pictures[6] and count(page) == 7 and page.inner_text("#action") == "down"

    with page.context.expect_page() as opened:
        page.click("#fork")
    fork = opened.value
    until(fork, "document.querySelectorAll('#film canvas').length == 7")
    assert picture(fork) == pictures[6] and "fork" not in fork.url
    fork.keyboard.down("ArrowDown")
    for number in range(7, 12):
        fork.keyboard.press(".")
        until(fork, f"document.getElementById('world').dataset.frame == {number}")
        assert picture(fork) == pictures[number]
    fork.keyboard.up("ArrowDown")
    assert frame(page) == 6 and picture(fork) != up

    fork.click("#link")
    until(fork, "location.hash.startsWith('#session=')")
    link = fork.url
    fork.close()
    page.goto("about:blank")
    again = open_page(link[link.index("#") :])
    until(again, "document.body.classList.contains('paused')")
    until(again, "document.getElementById('world').dataset.frame == 11")
    assert picture(again) == pictures[11] and len(link) < 2000
    with again.expect_download() as download:
        again.click("#json")
    download.value.save_as(tmp_path / "session.json")
    begins_again(again, lambda: again.keyboard.press("r"))
    again.set_input_files("#file", tmp_path / "session.json")
    until(again, "document.getElementById('world').dataset.frame == 11")
    assert picture(again) == pictures[11]


def test_a_gamepad_plays(open_page):
    page = open_page()
    plays(page, 1)
    pad = (
        "window.pad = { connected: true, axes: [0, 0], buttons: Array.from({ length: 17 }, () => ({})) };"
        "navigator.getGamepads = () => [window.pad, null];"
        "window.dispatchEvent(new Event('gamepadconnected'))"
    )
    page.evaluate(pad)
    held = "document.querySelector('#actions .held')?.textContent ?? ''"
    for change, back, label in (
        ("pad.axes = [0, -0.9]", "pad.axes = [0, 0]", "up"),
        ("pad.buttons[13].pressed = true", "pad.buttons[13].pressed = false", "down"),
        ("pad.buttons[1].pressed = true", "pad.buttons[1].pressed = false", "up"),
    ):
        page.evaluate(change)
        until(page, f"({held}).includes('{label}')")
        page.evaluate(back)
        until(page, f"({held}) === ''")
    page.evaluate("pad.buttons[9].pressed = true")
    until(page, "document.body.classList.contains('paused')")


@pytest.mark.parametrize(
    "options",
    [
        {"viewport": {"width": 1280, "height": 900}},
        {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    ],
)
def test_the_real_game_and_what_actions_do_are_shown(open_page, options):
    page = open_page("?real=1", **options)
    plays(page, 2)
    until(page, "!document.getElementById('beside').hidden")
    assert page.is_checked("#with-real") and page.locator("#actions img").count() == 3
    until(page, "[...document.querySelectorAll('#actions img')].every((one) => one.naturalWidth == 64)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [page.locator(name).bounding_box() for name in ("#world", "#real", "#actions", "#transport")]
    assert abs(boxes[0]["width"] - boxes[1]["width"]) < 1 and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= options["viewport"]["width"] for box in boxes)
    assert boxes[3]["y"] + boxes[3]["height"] <= options["viewport"]["height"]  # all that plays is on the first screen
    before = page.evaluate("document.getElementById('real').toDataURL()")
    page.keyboard.down("ArrowUp")
    plays(page, 6)
    assert page.evaluate("document.getElementById('real').toDataURL()") != before
    page.keyboard.up("ArrowUp")
    page.uncheck("#with-real")
    until(page, "!location.search && document.body.classList.contains('playing')")
    plays(page, 2)
    assert page.is_hidden("#beside")


def test_without_a_game_the_box_beside_it_is_not_offered(open_page, game_served, monkeypatch):
    page = open_page()
    plays(page, 1)
    assert page.is_visible("#with-real")
    monkeypatch.setattr(game_served, "has_game", False)
    page.reload()
    plays(page, 1)
    assert page.is_hidden("#with-real") and not page.get_by_text("beside the real game").is_visible()


@pytest.mark.parametrize("phone", [False, True])
def test_each_button_says_which_key_it_is_where_there_are_keys(open_page, phone):
    page = open_page(viewport={"width": 1280, "height": 900}, has_touch=phone, is_mobile=phone)
    plays(page, 1)
    keys = page.locator("#actions kbd")
    assert keys.all_text_contents() == ["1", "2", "↑", "3", "↓"]
    assert [keys.nth(i).is_visible() for i in range(5)] == [not phone] * 5


def test_a_browser_without_a_mouse_is_no_phone(browser, browser_arguments, address):
    """Such as a headless one that Playwright does not give a mouse: it has keys."""
    none = "--blink-settings=primaryHoverType=1,availableHoverTypes=1,primaryPointerType=1,availablePointerTypes=1"
    other = browser.browser_type.launch(**{**browser_arguments, "args": [*browser_arguments["args"], none]})
    page = other.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    plays(page, 1)
    assert page.evaluate("matchMedia('(hover: none)').matches")
    assert page.locator("#actions kbd").first.is_visible()
    other.close()


def test_slow_for_many_passes_is_said_with_what_helps(open_page, monkeypatch):
    page = open_page(viewport={"width": 1280, "height": 900})
    plays(page, 1)
    assert page.is_hidden("#slow")
    monkeypatch.setattr(Session, "many_passes", property(lambda self: self.sampler.steps > 1))
    until(page, "!document.getElementById('slow').hidden")
    assert "sampler=greedy takes one" in page.inner_text("#slow")
    page.click("#greedy")
    until(page, "document.getElementById('slow').hidden")
    assert page.input_value("#sampler") == "greedy"
    until(page, "document.getElementById('passes').textContent === '1'")  # the next frame says it


def test_an_own_picture_and_one_that_is_none(open_page, tmp_path):
    from PIL import Image

    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark")
    plays(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.tap("#pause")
    until(page, "document.body.classList.contains('paused')")
    Image.new("RGB", (120, 80), (200, 30, 90)).save(tmp_path / "own.png")
    page.set_input_files("#file", tmp_path / "own.png")
    color = "[...document.getElementById('world').getContext('2d').getImageData(9, 9, 1, 1).data].join()"
    until(page, f"{color} == '200,30,90,255'")
    (tmp_path / "none.png").write_text("hello")
    page.set_input_files("#file", tmp_path / "none.png")
    until(page, "document.getElementById('message').textContent.includes('neither a picture')")
    assert page.is_hidden("#text-row")  # nothing draws texts here
    page.tap("#sketch")
    page.set_input_files("#file", tmp_path / "own.png")
    until(page, "document.getElementById('message').textContent.includes('nothing is drawn')")


def test_one_too_many_is_told_and_can_try_again(open_page):
    first, second, third = open_page(), open_page(), open_page()
    plays(first, 2)
    plays(second, 2)
    until(third, "document.getElementById('message').textContent.includes('ll places of this world are taken')")
    first.close()
    time.sleep(0.3)
    third.click("#again")
    plays(third, 2)


@contextlib.contextmanager
def loading(browser, build):
    """A page that waits for `build`, and the server of it."""
    with bind("127.0.0.1", 0, "play") as listener:
        app = Loading(build, True, "the world of a run")
        server = web_server(app, 0)
        app.stop = lambda: setattr(server, "should_exit", True)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        page = browser.new_page()
        try:
            page.goto(url("127.0.0.1", listener))
            yield page
        finally:
            page.close()
            server.should_exit = True
            thread.join(20)


def test_the_page_waits_for_what_is_loaded(browser):
    begin = threading.Event()

    def build(loopback):
        assert begin.wait(60)
        return Starlette(routes=[Route("/", lambda request: HTMLResponse("<p id='there'>played</p>"))])

    with loading(browser, build) as page:
        assert page.evaluate("document.querySelector('[role=status]').textContent") == "Loading the world of a run …"
        assert page.evaluate("getComputedStyle(document.body).textAlign") == "center"
        begin.set()
        page.locator("#there").wait_for(timeout=20_000)  # milliseconds


def test_the_page_says_that_the_command_has_ended(browser):
    begin = threading.Event()

    def build(loopback):
        assert begin.wait(60)
        raise UserError("the file is damaged")

    with loading(browser, build) as page:
        begin.set()
        until(page, "document.querySelector('[role=status]').textContent === 'The command has ended.'")
        assert page.evaluate("document.querySelector('progress').hidden")
