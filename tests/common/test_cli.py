"""The command line: mistakes are one line on stderr and exit code 2, help fits a screen, nothing is left behind."""

import logging
import os
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from genie.common.cli import hydra_main
from genie.common.config_errors import config_groups
from genie.common.errors import RunError, UserError
from genie.common.overrides import NAMES

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def run(monkeypatch, run_main, tmp_path):
    """run(*arguments): (exit code, stdout, stderr, calls) of a command with the configuration of training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GENIE_TRACE", raising=False)

    def start(*arguments, function=lambda config: None, config_name="train"):
        configs = []

        @hydra_main(config_name)
        def main(config):
            configs.append(config)
            return function(config)

        return *run_main(main, *arguments), configs

    return start


MISTAKES = {
    "key": (["trainer.max_step=3"], "trainer.max_step", "did you mean trainer.max_steps?", "accelerator, "),
    "deep key": (["model.lam.widht=3"], "model.lam.widht", "did you mean model.lam.width?", "num_actions"),
    "key of an optional group": (
        ["recipe.reward.lrr=3"],
        "recipe.reward.lrr",
        "did you mean recipe.reward.lr?",
        "beta2",
    ),
    "optional group": (["recipe.rewards.lr=3"], "recipe.rewards", "did you mean recipe.reward?", "policy, reward, sim"),
    "top key": (
        ["nmae=x"],
        "'nmae'",
        "did you mean name?",
        "(+nmae=... adds one, to which others may refer as ${nmae})",
    ),
    "group": (["experimnt=pong"], "'experimnt'", "did you mean experiment?", "logger, model"),
    "key without its group": (["lr=1e-3"], "'lr'", "did you mean optimizer.lr?", ""),
    "key of a value": (["optimizer.lr.x=1"], "optimizer.lr.x", "optimizer.lr is a value", ""),
    "group of a stage": (["reward.foo=1"], "stage=reward brings it", "reward=", ""),
    "group without a choice": (["debug.foo=1"], "'debug' is a group of which nothing is chosen", "debug=", "fast"),
    "name in a list": (["data.quality_splits.foo=1"], "names a key of a list", "key=[1,2]", ""),
    "choice": (["stage=tokeniser"], "stage=tokeniser", "did you mean tokenizer?", "cotrain, dynamics, lam"),
    "choice without likeness": (["stage=foo"], "stage=foo", "There is: cotrain, dynamics, lam", "reward, simulator"),
    "choice of a sweep": (["-m", "stage=lam,foo"], "stage=foo", "cotrain, dynamics, lam", "reward, simulator"),
    "key of a sweep": (["-m", "optimizer.lrr=1,2"], "optimizer.lrr", "mean optimizer.lr?", ""),
    "configuration": (["--config-name=trian"], "trian", "did you mean train?", "pipeline"),
    "no value": (["name"], "'name'", "key=value", ""),
    "bracket": (["data.image_size=[64,64"], "data.image_size=[64,64", "must be two whole numbers, [height, width]", ""),
    "list for a word": (["objective=[val/loss]"], "objective", "must be one word or text", ""),
    "sign in a number": (["optimizer.lr=1e-3#"], "optimizer.lr=1e-3#", "must be a number above 0", ""),
    "letters of a key": (["nämé=x"], "'nämé'", "letters, digits", ""),
    "space in a key": (["name =x"], "'name '", "letters, digits", ""),
    "sweep without -m": (["stage=lam,tokenizer"], "stage=lam,tokenizer", "--multirun", ""),
    "list without brackets": (
        ["data.quality_splits=train,val"],
        "write data.quality_splits=[train,val]",
        "--multirun",
        "",
    ),
    "reference": (["name=${nowhere.at_all}"], "'nowhere.at_all' not found", "taken from a key that is not there", ""),
    "missing value": (["name=???"], "'name'", "add name=...", ""),
    "no name of a choice": (["data=[null]"], "a group takes the name of a choice", "data=pong", ""),
    "no choice": (["data=null"], "a group takes the name of a choice", "cannot be null", ""),
    "no choice and several values": (["callbacks=null", "seed=1,2"], "seed=1,2", "--multirun", ""),
    "a list for a number": (["schedule.min_lr=[1]"], "schedule.min_lr=[1] must be a number of at least 0", "", ""),
    "no key": (["+=x"], "an override has no key", "key=value", ""),
    "no number": (["optimizer.lr=fast"], "optimizer.lr=fast must be a number above 0", "", ""),
    "no number in a recipe": (
        ["recipe.lam.max_steps=x"],
        "recipe.lam.max_steps=x must be a whole number of at least 1",
        "",
        "",
    ),
    "no truth": (["resume=yes"], "resume=yes must be true or false", "", ""),
    "no list": (["data.image_size=64"], "data.image_size=64 must be two whole numbers, [height, width]", "", ""),
    "one side": (["data.image_size=[64]"], "data.image_size=[64] must be two whole numbers, [height, width]", "", ""),
    "large side": (["data.image_size=[64,1000000]"], "data.image_size=[64,1000000]: each", "from 1 to 16384", ""),
    "many workers": (["data.num_workers=100000"], "data.num_workers=100000 must be", "from 0 to 1024", ""),
    "no keys": (["optimizer=adam2"], "optimizer=adam2", "There is: adamw", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_there_is(run, mistake, tmp_path):
    arguments, *texts = MISTAKES[mistake]
    code, _, err, configs = run(*arguments)
    assert code == 2 and configs == []
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    for text in texts:
        assert text in err
    assert "hydra" not in err


def test_a_user_error_is_one_line(run):
    def wrong(config):
        raise UserError("data.stride=0 must\n   be at least 1")

    assert run(function=wrong)[:3] == (2, "", "error: data.stride=0 must be at least 1\n")


def test_a_run_that_cannot_go_on_is_one_line_of_another_exit_code(run):
    def full(config):
        raise RunError("no room\n on the disk")

    assert run(function=full)[:3] == (1, "", "error: no room on the disk\n")


def test_norms_in_bf16_warn_nobody(run):
    def half(config):
        with torch.autocast("cpu", torch.bfloat16):
            torch.nn.RMSNorm(8)(torch.nn.Linear(8, 8)(torch.zeros(2, 8)))
        warnings.warn("something else", stacklevel=1)

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert run(function=half)[0] == 0
    assert [str(one.message) for one in found] == ["something else"]


def test_any_other_error_keeps_its_traceback_without_hydras_frames(run):
    def broken(config):
        return [][0]

    code, _, err, _ = run(function=broken)
    assert code == 1
    assert "IndexError: list index out of range" in err and "return [][0]" in err
    assert not any(word in err for word in ("hydra/", "genie/common/cli.py", "Error executing job"))


@pytest.mark.parametrize("way", ["debug=trace", "GENIE_TRACE"])
def test_a_trace_is_given_on_request(run, monkeypatch, way):
    arguments = [way] if "=" in way else []
    monkeypatch.setenv("GENIE_TRACE", "0" if arguments else "1")

    def wrong(config):
        raise UserError("wrong")

    with pytest.raises(UserError):
        run(*arguments, function=wrong)
    with pytest.raises(Exception, match="Could not override"):
        run("nmae=x", *arguments)


def test_a_command_without_debug_presets_names_the_other_way_to_a_trace(run):
    code, _, err, calls = run("debug=trace", config_name="inspect")
    assert code == 2 and not calls
    assert "no key or group 'debug'; GENIE_TRACE=1 gives full tracebacks" in err and "\n" not in err.strip()


@pytest.mark.parametrize(
    ("arguments", "stream"),
    [(["--help"], "stdout"), (["--cfg", "job"], "stdout"), ([], "stdout"), (["trainer.max_step=3"], "stderr")],
)
def test_a_command_whose_reader_has_left_ends_without_a_word(run, monkeypatch, arguments, stream):
    """As behind `| head -1`."""
    reading, writing = os.pipe()
    os.close(reading)

    def say(config):
        for _ in range(10000):
            print("a line")

    with open(writing, "w", buffering=1) as pipe:
        monkeypatch.setattr(sys, stream, pipe)
        code, _, err, _ = run(*arguments, function=say)
    assert code == 141 and err == ""


def test_a_command_without_an_output_runs(run, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as where a service is started, or by `>&-`
    code, _, err, configs = run("name=x")
    assert code == 0 and err == "" and len(configs) == 1


def test_a_log_without_a_reader_is_no_traceback(run, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", True)
    run("name=x")
    assert not logging.raiseExceptions


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 12")]
)
def test_no_memory_is_one_line(run, error):
    def fill(config):
        raise error

    code, _, err, _ = run(function=fill)
    assert code == 1 and err.startswith("error: out of memory: ") and str(error) in err and err.count("\n") == 1


def test_a_broken_pipe_to_somebody_else_keeps_its_traceback(run):
    def fail(config):
        raise BrokenPipeError("the other process")

    code, _, err, _ = run(function=fail)
    assert code == 1 and "Traceback" in err and "the other process" in err


def test_ctrl_c_says_so(run):
    def interrupted(config):
        raise KeyboardInterrupt

    assert run(function=interrupted)[::2] == (130, "interrupted\n")


def test_the_command_gets_plain_resolved_containers_and_leaves_nothing_behind(run, tmp_path):
    code, out, err, (config,) = run("stage=lam", "model=debug", "name=x", "trainer.devices=auto", "seed=3")
    assert (code, out, err) == (0, "", "")
    assert config["run_dir"] == "outputs/x/lam"
    assert config["trainer"]["max_steps"] == config["recipe"]["lam"]["max_steps"]
    assert type(config) is dict and type(config["data"]["image_size"]) is list
    assert "hydra" not in config
    assert list(tmp_path.iterdir()) == []


def test_the_jobs_of_a_sweep_run_one_after_the_other(run, tmp_path):
    code, out, _, configs = run("-m", "model=debug", "stage=lam", "optimizer.lr=1e-3,3e-4")
    assert code == 0
    assert [config["optimizer"]["lr"] for config in configs] == [1e-3, 3e-4]
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


@pytest.mark.parametrize("config_name", ["train", "pipeline"])
def test_help_is_one_screen_and_names_every_choice(run, config_name):
    code, out, err, configs = run("--help", config_name=config_name)
    assert code == 0 and err == "" and configs == []
    assert out.count("\n") <= 45
    assert max(len(line) for line in out.splitlines()) <= 120
    assert "$" not in out
    if config_name == "train":
        groups = ("cotrain | dynamics | lam | policy | reward | simulator", "pong_notes", "fast | overfit | trace")
        for word in (*groups, "delta | rssm", "preference | state", "actor_critic | behaviour_cloning", "Examples"):
            assert word in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--cfg", "job"], "max_steps: ${recipe.${stage.name}.max_steps}"),
        (["--cfg", "job", "--resolve"], "run_dir: outputs/pong/tokenizer"),
        (["--info", "defaults"], "trainer/auto"),
        (["--hydra-help"], "Hydra"),
    ],
)
def test_hydras_own_questions_are_answered(run, arguments, word):
    code, out, _, configs = run(*arguments)
    assert code == 0 and configs == [] and word in out


def test_shell_completion_knows_the_choices(run, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "python train.py stage=")
    monkeypatch.setenv("COMP_POINT", "22")
    code, out, _, _ = run("--shell-completion", "query=bash")
    assert code == 0 and "stage=tokenizer" in out and "stage=lam" in out


COMMANDS = sorted({path.stem for path in CONF.glob("*.yaml")} - {"command_line", "prompt"})
# Mappings that have a key for each stage, split, environment, variant or figure: the name of the mapping is enough.
MAPPINGS = ("more_steps", "overrides", "collect.frames", "act.thresholds", "ablation.variants", "ablation.columns")
# What a choice sets, and what these commands have only because the group data refers to it.
NOT_FOR_USERS = {
    "": {"new_sampler", "data.num_frames", "data.batch_size"},
    **dict.fromkeys(("convert", "curate", "inspect", "replay"), {"seed"}),
    "record": {"seed", "model"},
}


def own_keys(content, prefix=""):
    """The keys of a command's own, those of its small groups in full."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and key not in MAPPINGS:
            yield from own_keys(value, f"{key}.")
        else:
            yield key


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_key_and_group(command):
    with initialize_config_module("conf", version_base="1.3"):
        config = OmegaConf.to_container(compose(command, return_hydra_config=True), resolve=False)
        training = {*compose("train")}
    text = config.pop("hydra")["help"]["template"]
    own = yaml.safe_load((CONF / f"{command}.yaml").read_text())
    groups = {*config_groups(command)}
    keys = {*own_keys({name: value for name, value in own.items() if name not in ("defaults", "hydra")})}
    keys |= {*own_keys({"ablation": config.get("ablation", {})})} - {"ablation"}
    keys |= {*config} - {key.partition(".")[0] for key in keys}
    if "train" in own["defaults"]:  # these take all that training takes, and say so
        assert "every group and key of python -m genie.train --help" in " ".join(text.split())
        keys, groups = keys - training, groups - {*config_groups("train")}
    named = {*re.findall(r"(?<![\w.])[\w.]+(?==)|(?<=^  )\w+(?=  )", text, re.MULTILINE)}
    named |= {key for name, key in NAMES.get(command, {}).items() if name in named}
    missing = {key for key in keys | groups if not any(f"{name}.".startswith(f"{key}.") for name in named)}
    assert missing <= NOT_FOR_USERS[""] | NOT_FOR_USERS.get(command, set())
    assert not groups or "--cfg job" in text  # where the keys of groups are


def test_an_error_after_a_value_that_no_check_can_judge_names_it(run):
    def wrong(config):
        return {"a": 1}["callbacks"]

    code, _, err, _ = run("data.recorder=null", "trainer.max_steps=3", function=wrong)
    assert code == 1 and err.count("\n") == 1 and "Traceback" not in err
    assert "KeyError: 'callbacks': perhaps because of data.recorder=null (default" in err and "max_steps" not in err
    assert "Traceback" in run("trainer.max_steps=3", function=wrong)[2]
