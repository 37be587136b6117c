"""`genie`: every command is in its list, starts as `python -m` starts it, and imports nothing of the user's instead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import genie
from genie.common import program

ROOT = Path(__file__).parents[2]
PROGRAM = "from genie.__main__ import main; main()"


@pytest.fixture
def call(run_main, monkeypatch):
    """call(*arguments): (exit code, stdout, stderr) of `genie` in this process, of which nothing stays."""
    for name in (program.STARTED_AS, "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, "")  # so that it is put back in the end
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    return lambda *arguments: run_main(program.main, *arguments)


@pytest.fixture
def genie_in(tmp_path):
    """genie_in(*arguments): the finished `genie` in an empty folder, as its console script starts it."""

    def start(*arguments):
        environment = {name: value for name, value in os.environ.items() if name != program.STARTED_AS}
        command = [sys.executable, "-P", "-c", PROGRAM, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return start


def test_every_command_is_listed_once():
    modules = {path.stem for path in (ROOT / "genie").glob("*.py") if not path.stem.startswith("__")}
    assert sorted(program.COMMANDS) == sorted(modules)


def test_the_list_has_a_line_for_each(call):
    code, out, err = call()
    assert (code, err) == (0, "") and call("--help")[1] == call("help")[1] == out
    for name in program.COMMANDS:
        (line,) = [line for line in out.splitlines() if line.startswith(f"  {name} ")]
        assert len(line) <= 80 and len(line.split()) > 3 and "`" not in line
    assert "Training of one stage" in out


@pytest.mark.parametrize(
    ("typed", "text"),
    [("tain", "did you mean genie train?"), ("evalute", "genie evaluate?"), ("xyz", "there is: record, convert,")],
)
def test_an_unknown_command_is_one_line(call, typed, text):
    code, out, err = call(typed, "stage=lam")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert err.startswith(f"error: there is no command '{typed}'") and text in err


def test_the_version_is_that_of_the_package(call):
    assert call("--version") == (0, f"genie-world {genie.__version__}\n", "")
    assert call("train", "--version") == call("--version")
    assert not hasattr(genie, "version")


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """The name of a run that holds a tokenizer alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "begun").mkdir(parents=True)
    (tmp_path / "outputs" / "begun" / "tokenizer.safetensors").touch()
    return "outputs/begun"


def test_help_and_errors_name_commands_as_they_were_started(call, begun):
    _, out, _ = call("help", "train")
    assert "genie train stage=tokenizer experiment=pong" in out and "python -m" not in out
    assert call("plan-memory", "--help")[1].startswith("Memory of each device")
    _, _, err = call("play", f"run={begun}")
    assert "`genie train stage=lam name=begun`" in err


def test_python_m_names_itself(run_main, begun):
    from genie.play import main

    assert "python -m genie.play run=" in run_main(main, "--help")[1]
    assert "`python -m genie.train stage=lam name=begun`" in run_main(main, f"run={begun}")[2]


@pytest.mark.parametrize("text", ["python -m genie.training.measured", "see genie.train", "python -m genie"])
def test_nothing_else_is_renamed(monkeypatch, text):
    monkeypatch.setenv(program.STARTED_AS, "genie")
    assert program.as_started(text) == text
    assert program.as_started("`python -m genie.train`") == "`genie train`"


def test_an_unknown_flag_is_one_line(call):
    code, out, err = call("train", "--foo")
    assert (code, out) == (2, "") and err.startswith("error: unrecognized arguments: --foo") and err.count("\n") == 1


def test_the_list_and_help_do_without_torch():
    script = (
        "import sys; from genie.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'lightning', *sys.argv[3:]) if name in sys.modules])"
    )
    for arguments in (["--help", "hydra"], ["train", "--help"]):
        process = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
        assert process.stdout.splitlines()[-1] == "[]", arguments


def test_a_package_that_is_not_whole_is_one_line(call, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'hydra'")

    monkeypatch.setattr(program, "import_module", missing)
    code, _, err = call("train")
    assert code == 2 and "No module named 'hydra'" in err and "pip install" in err and err.count("\n") == 1


@pytest.mark.parametrize("theirs", ["conf/__init__.py", "callbacks.py", "data_modules/__init__.py"])
def test_a_users_own_module_of_the_same_name_is_named_or_passed_over(run, genie_in, tmp_path, theirs):
    path = tmp_path / theirs
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise RuntimeError('not this one')")
    name = theirs.partition("/")[0].removesuffix(".py")
    beside = run(tmp_path, "-m", "genie.inspect", "--version")
    assert beside.returncode == 2 and beside.stderr.count("\n") == 1
    assert f"the package {name} would be imported from {tmp_path}" in beside.stderr and "genie" in beside.stderr
    started = genie_in("inspect", "--version")
    assert started.returncode == 0 and started.stdout.startswith("genie-world "), started.stderr


def test_a_module_of_the_current_folder_is_found_after_all_others(genie_in, call, tmp_path, monkeypatch):
    (tmp_path / "my_game.py").write_text("import gymnasium\ngymnasium.register('Mine-v0', 'my_game:Nothing')")
    process = genie_in("record", "env.id=my_game:Mine-v0", "data.root=mine")
    assert "No module named" not in process.stderr and "module 'my_game' has no attribute 'Nothing'" in process.stderr
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert program.CurrentFolder.find_spec("only_a_folder") is None
    assert program.CurrentFolder.find_spec("my_game") is not None
    assert program.CurrentFolder.find_spec("email.my_game", ["email"]) is None
