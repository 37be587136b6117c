"""`python -m genie.rate`: pairs of segments of a world's data on a page, until Ctrl-C."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI

from data_modules.annotations import identity, parts
from data_modules.clip_data import ClipData
from genie.common.config_types import require_whole
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.common.web import check_address, serve_page
from genie.rating.page import Session, create_app
from genie.rating.pairs import Preferences, choose_pairs
from genie.world.opening import open_world

SPLIT = "train"


def rate(config: dict[str, Any]) -> None:
    """Serves the page. Raises UserError for a value that cannot be, before anything is shown."""
    require_whole(config, "num_frames", least=2)
    require_whole(config, "pairs")
    require_whole(config, "seed", least=0)
    check_address(config["page"], "page")
    session = open_session(config)
    with one_writer(session.answers.path, "ratings=", beside=True):
        _serve(session, config)


def _serve(session: Session, config: dict[str, Any]) -> None:
    def app(loopback: bool) -> FastAPI:
        print(f"{len(session.answers.given)} pairs are rated in {session.answers.path}; Ctrl-C ends, the same "
              "command goes on")  # fmt: skip
        return create_app(session, loopback)

    session.answers.write()  # whether it can be: before the first verdict
    serve_page(app, config["page"], "page")


def open_session(config: dict[str, Any]) -> Session:
    """The pairs to be rated, of the training split of the data that the world of `run` was trained on."""
    world = open_world(config["run"], config["kind"])
    if len(world.observation_shape) != 3:
        raise UserError(f"run={config['run']} is a world of states: there is nothing to look at")
    data = {**world.config["data"], "num_frames": config["num_frames"], "batch_size": 1, "num_workers": 0}
    module = ClipData(**{**data, "augmentation": None, "min_quality": None})
    readers = parts(module.open())
    part = SPLIT if SPLIT in readers else "all"
    path = Path(config["ratings"] or Path(config["run"]) / "preferences.csv")
    preferences = Preferences(path, {part: identity(readers[part])}, readers)
    chosen = choose_pairs(readers[part], part, config["num_frames"], config["pairs"], config["seed"])
    return Session(readers, preferences, chosen, config["enough"], world.fps)
