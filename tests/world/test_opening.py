"""The world of a run folder, whatever kind it is of."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from genie.common.errors import UserError
from genie.world.opening import open_world
from genie.world.world_model import WorldModel


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """make(*stages): a run folder with a file for each stage; what is loaded of it is said, not done."""
    module = ModuleType("genie.world.simulator_world")
    module.SimulatorWorld = SimpleNamespace(load=lambda run: ("simulator", run))
    monkeypatch.setitem(sys.modules, "genie.world.simulator_world", module)
    monkeypatch.setattr(WorldModel, "load", lambda run: ("genie", run))

    def make(*stages):
        folder = tmp_path / ("_".join(stages) or "empty")
        folder.mkdir()
        for stage in stages:
            (folder / stage / "checkpoints").mkdir(parents=True)
            (folder / stage / "checkpoints" / "last.ckpt").write_bytes(b"")
        return folder

    return make


@pytest.mark.parametrize("stages", [("dynamics",), ("cotrain", "tokenizer"), ("simulator", "dynamics")])
def test_tokens_and_dynamics_come_first(folders, stages):
    folder = folders(*stages)
    assert open_world(folder) == ("genie", folder)


def test_a_simulator(folders):
    folder = folders("simulator")
    assert open_world(str(folder)) == ("simulator", folder)
    both = folders("dynamics", "simulator")
    assert open_world(both, "simulator") == ("simulator", both) and open_world(both, "genie") == ("genie", both)


@pytest.mark.parametrize(
    ("stages", "below", "kind", "words"),
    [
        (
            ("tokenizer",),
            "",
            None,
            "holds no trained world: it holds tokenizer; next comes .*genie.train stage=lam",
        ),
        (("dynamics",), "", "simulator", "no trained world of the kind simulator, but one of the kind genie"),
        (("dynamics",), "dynamics", None, "folder of one stage, give .*/dynamics$"),
        (("dynamics",), "nowhere", None, "there is no such folder"),
        (("dynamics",), "", "rssm", "there is no kind 'rssm' of world: choose one of genie, simulator"),
    ],
)
def test_what_is_no_world_is_one_line(folders, stages, below, kind, words):
    with pytest.raises(UserError, match=words) as error:
        open_world(folders(*stages) / below, kind)
    assert "\n" not in str(error.value)
