"""Tiny data to curate, frames of one colour per episode, and segments of a recording to compare."""

import threading
import time
from contextlib import contextmanager

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from benchmarks.curation import write_mix
from data_modules.annotations import identity, parts
from data_modules.clip_data_module import ClipDataModule
from genie.common.cli import resolved
from genie.common.web import address, bind, web_server
from genie.labeling.rate import Preferences, choose_pairs
from genie.labeling.windows import WindowedData


@pytest.fixture(scope="session")
def curate_config():
    """curate_config(root, *overrides): the configuration `curate` for the data there, without a network."""

    def build(root, *overrides):
        GlobalHydra.instance().clear()
        given = ["data=episodes", f"data.root={root}", "device=cpu", "features=none", *overrides]
        with initialize_config_module("conf", version_base="1.3"):
            return resolved("curate", given)

    return build


@pytest.fixture(scope="session")
def mix(tmp_path_factory, pong_root):
    """(path, kinds): 24 stretches of 32 frames of Pong, 6 each of menus, black frames, noise and stills, shuffled."""
    path = tmp_path_factory.mktemp("mix") / "mix.h5"
    return path, write_mix(path, pong_root / "train.h5", stretches=24, frames=32, seed=0)


@pytest.fixture(scope="session")
def footage(mix, curate_config):
    """The mix in 96 windows of 16 frames."""
    return WindowedData(curate_config(mix[0]).data.plain())


@pytest.fixture(scope="module")
def data(pong_root):
    """The group `data` of a short recording of Pong."""
    return {"root": str(pong_root), "image_size": [64, 64], "num_frames": 8, "batch_size": 1}


@pytest.fixture(scope="module")
def readers(data):
    return parts(ClipDataModule(**data).open())


@pytest.fixture
def preferences(readers, tmp_path):
    """preferences(): those of a file that is there no more than once."""
    return lambda: Preferences(tmp_path / "p.csv", {"train": identity(readers["train"])}, readers)


@pytest.fixture(scope="module")
def pairs(readers):
    return choose_pairs(readers["train"], "train", length=8, most=30, seed=0)


@pytest.fixture
def open_page(browser, complaints):
    """open_page(app): a context with the page that an app serves, in Chromium at the size of a phone, and with
    `rated(count)`, which waits for that many answers. It fails where the browser's console has an error."""

    @contextmanager
    def run(app):
        def rated(count):
            deadline = time.time() + 20
            while page.evaluate("Number(document.getElementById('bar').value)") != count:
                assert time.time() < deadline
                time.sleep(0.02)

        with bind("127.0.0.1", 0, "page") as listener:
            server = web_server(app, 0)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                page = browser.new_page(viewport={"width": 390, "height": 844})
                complaints(page)
                page.goto(address("127.0.0.1", listener), wait_until="networkidle")
                yield page, rated
                page.close()
            finally:
                server.should_exit = True
                thread.join(20)

    return run
