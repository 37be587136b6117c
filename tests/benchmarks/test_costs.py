"""The benchmarks of cost run, and print what they promise. Their figures are not judged here."""

import json
import re
import subprocess
import sys

import pytest

from benchmarks import generation, monitoring, scaling
from genie.common.errors import RunError

pytestmark = pytest.mark.slow


def test_growth_beside_its_arithmetic(tmp_path, run_main):
    small = ["frames=2,4", "tokens=4,16", "width=32,64", "batch=1", "blocks=1", "heads=2", "repeats=1", "slack=9"]
    _, printed, _ = run_main(scaling.main, *small, f"output={tmp_path / 'growth'}")
    assert printed.count(" kept\n") == 6 and "| frames T: 2, 4 | " in printed
    found = json.loads((tmp_path / "growth.json").read_text())
    assert found["frames"]["4"]["operations"] == pytest.approx(2 * found["frames"]["2"]["operations"], rel=0.1)
    assert found["width"]["64"]["kept"] > found["width"]["32"]["kept"] > 0
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_a_row_that_grows_faster_is_named(tmp_path, monkeypatch, run_main):
    def measured(shape):
        return {
            "seconds": shape["frames"] ** 3,
            "operations": shape["frames"],
            "memory": 1 + shape["width"],
            "kept": shape["width"],
        }

    monkeypatch.setattr(scaling, "measured", measured)
    with pytest.raises(RunError, match="^time grows with frames faster than its arithmetic$"):
        run_main(scaling.main, "tokens=64,65", "width=256,512", f"output={tmp_path / 'growth'}")


def test_a_long_video_and_batches(world_run, tmp_path):
    def printed(*words):
        command = [sys.executable, "-m", "benchmarks.generation", f"run={world_run}", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    lines = printed("only=video", "frames=3,9").splitlines()
    assert (
        lines[1].startswith("frames 1 to 3: ") and lines[2].startswith("frames 4 to 9: ") and "MB on disk" in lines[2]
    )
    lines = printed("only=batches").splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["1 worlds", "8 worlds", "64 worlds", "a frame in one pass"]


def test_looks_at_held_out_clips_are_timed_beside_steps(world_run, run_main):
    _, printed, _ = run_main(monitoring.main, f"run={world_run}", "turns=1", "steps=1", "num_clips=2")
    lines = re.findall(r"^(\w+): a look [\d.]+ s, a step [\d.]+ s: [\d.]+ steps, [\d.]+% of the time$", printed, re.M)
    assert lines == ["tokenizer", "lam", "dynamics"]


def test_generation_compares_untrained_worlds():
    assert generation.untrained_world("debug", 4).window == 4
