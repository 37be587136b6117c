"""Completion: candidates for what is typed, and both shells put them in."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genie.common.completion import complete
from genie.common.program import COMMANDS

GENIE = f"#!{sys.executable} -P\nfrom genie.__main__ import main\nmain()\n"


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("genie tr", ["train "]),
        ("genie inst", []),
        ("genie completion ", ["bash ", "zsh "]),
        ("genie completion bash ", []),
        ("genie train stage=to", ["stage=tokenizer "]),
        ("genie train stage=reward reward=", ["reward=preference ", "reward=state ", "reward=trajectory "]),
        ("genie train stage=policy policy.le", ["policy.least_range="]),
        ("genie train trainer.prec", ["trainer.precision="]),
        ("genie train ++trainer.prec", ["++trainer.precision="]),
        ("genie train trainer.accumulate=", ["trainer.accumulate=1 "]),
        ("genie train trainer.accumulate=2", []),
        ("genie train recipe.lam.copy", []),
        ("genie train recipe.lam.foreg", ["recipe.lam.foreground_weight="]),
        ("genie train comp", ["compile="]),
        ("genie train compile=", ["compile=false ", "compile=true "]),
        ("genie train -m stage=lam,to", ["stage=lam,tokenizer "]),
        ("genie train no.such=1 stage=to", ["stage=tokenizer "]),
        ("genie train --cfg ", ["all ", "hydra ", "job "]),
        ("genie train --mul", ["--multirun "]),
        ("genie export dtype=", ["dtype=bf16 ", "dtype=fp32 ", "dtype=null "]),
        ("genie act planner=c", ["planner=cem "]),
        ("genie act planner=cem planner.iter", ["planner.iterations="]),
        ("genie act planner/", ["planner/optimizer="]),
        ("genie plan-memory hardw", ["hardware.", "hardware="]),
        ("genie generate prompt_kind=s", ["prompt_kind=sketch "]),
        ("genie inspect data.root=", []),
        ("genie inspect 'data.root=my vid", []),
        ("FOO genie", []),
    ],
)
def test_candidates(line, candidates):
    assert complete(line) == candidates


def test_all_commands_and_the_groups_of_one():
    assert complete("genie ") == sorted(f"{name} " for name in COMMANDS)
    offered = complete("genie train ")
    assert {"stage=", "data=", "data.", "name=", "reward=", "experiment="} <= {*offered} and "hydra." not in offered


def test_runs_and_shipped_worlds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complete("genie play run=") == ["run=pretrained/pong "]
    for run in ("mine", "with space", "group/one"):
        Path(f"outputs/{run}/tokenizer/checkpoints").mkdir(parents=True)
        Path(f"outputs/{run}/tokenizer/checkpoints/last.ckpt").touch()
    Path("outputs/inspect").mkdir()  # pictures of data
    assert complete("genie play run=out") == ["run=outputs/group/one ", "run=outputs/mine "]
    assert complete("genie act policy=pre") == ["policy=pretrained/pong "]


def test_torch_is_not_imported():
    script = "import sys; from genie.common.completion import complete; complete('genie train stage='); \
        print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


class Shell:
    """A shell in a terminal of its own, in a folder with `genie` on its path."""

    def __init__(self, command, folder):
        self.terminal, end = pty.openpty()
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "ready> "}
        self.process = subprocess.Popen(
            command, stdin=end, stdout=end, stderr=end, cwd=folder, env=environment, start_new_session=True
        )
        os.close(end)

    def type(self, text, expected, seconds=120):
        """Types a text; returns what the terminal shows once `expected` is there."""
        os.write(self.terminal, text.encode())
        shown, limit = "", time.monotonic() + seconds
        while expected not in shown and time.monotonic() < limit:
            if select.select([self.terminal], [], [], 0.1)[0]:
                shown += os.read(self.terminal, 65536).decode(errors="replace").replace("\b", "")
        assert expected in shown, shown
        return shown

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_keys_choices_and_files(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    program = tmp_path / "genie"
    program.write_text(GENIE)
    program.chmod(0o755)
    (tmp_path / "recording.mp4").touch()
    flags = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    terminal = Shell([shell, *flags], tmp_path)
    try:
        terminal.type(f'eval "$(genie completion {shell})"; echo lo"ad"ed\n', "loaded\r\n")
        terminal.type("genie tr\t", "train ")
        terminal.type("stage=tok\t", "stage=tokenizer ")
        terminal.type("trainer.prec\t", "trainer.precision=")
        terminal.type("\x15true | genie conv\t", "convert ")
        terminal.type("videos=rec\t", "recording.mp4")
    finally:
        terminal.close()
