import copy
import re
from typing import get_args

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from callbacks.graceful_stop import SIGNALS
from data_modules.environments.recording_policies import CONTINUOUS
from data_modules.formats.decoding import DECODERS
from data_modules.formats.episodes import SPLITS
from data_modules.sources import SOURCES
from genie.common.cli import resolved
from genie.common.config_errors import group_options
from genie.common.errors import UserError
from genie.common.overrides import check_given, composed, spelled
from genie.common.settings import commands, data, kinds, training, world
from genie.common.settings.commands import COMMANDS, ActConfig
from genie.common.settings.kinds import Range
from genie.common.settings.schema import _leaves, check_settings, kind_of, typed
from genie.common.settings.world import CemSearch
from genie.publishing.export import DTYPES
from genie.stages import STAGES
from genie.stages.losses import RECONSTRUCTIONS
from genie.world.opening import KINDS
from genie.world.sampler import ORDERS


@pytest.fixture
def checked(hydra):
    """checked(command, *overrides): the configuration of a command, after all that is checked of any command."""

    def check(command, *overrides):
        cfg = compose(command, spelled(list(overrides), command), return_hydra_config=True)
        check_given(cfg.hydra.overrides.task)
        check_settings(cfg, command)
        return cfg

    return check


@pytest.fixture(scope="module")
def hydra():
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def defaults(hydra):
    return compose("train")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_defaults_of_every_command_pass(checked, command):
    checked(command)


@pytest.mark.parametrize("group", ["data", "model", "experiment", "debug"])
def test_every_preset_passes(checked, group):
    for choice in group_options(group):
        more = ["data.root=x"] if group == "data" else []
        checked("train", f"{group}={choice}", *more)


@pytest.mark.parametrize(
    "mistake",
    [
        ("train", "name="), ("train", "name=null"), ("train", "name=../../evil"), ("train", "name=/abs"),
        ("train", "name=a/../../b"), ("train", "name=.."), ("train", "name='a\nb'"), ("train", "name='a '"),
        ("train", f"name={'x' * 300}"), ("pipeline", "name=../x"), ("agent", "name=/x"), ("ablate", "name=null"),
        ("record", "data.name=../x"), ("inspect", "data.name="), ("act", "act.name=../x", "run=x"),
        ("train", "output_dir="), ("train", "output_dir=null"), ("train", "run_dir=null"), ("evaluate", "run="),
        ("evaluate", "run=null"), ("inspect", "output=null"), ("record", "data.root=''"),
        ("train", "optimizer.lr="), ("train", "++anything="),
    ],
    ids=lambda words: repr(words[:2])[:60],
)  # fmt: skip
def test_names_and_places_that_lead_nowhere_or_elsewhere_are_refused(checked, mistake):
    with pytest.raises(UserError) as error:
        checked(*mistake)
    assert mistake[1].partition("=")[0].lstrip("+") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["pong", "pong/small", "日本", "a b", "007", "1e3", "true", "-x", "..a"])
def test_other_names_are_folders_as_they_are_written(checked, name):
    cfg = checked("train", f"name={name}")
    assert cfg.run_dir == f"outputs/{name}/tokenizer"


@pytest.mark.parametrize(
    "override",
    [
        "seed=-1", "seed=4294967296", "seed=1.5", "seed=null", "seed=nan", "data.seed=-1", "data.recorder.seed=-1",
        "data.num_workers=-1", "data.num_workers=0.5", "data.image_size=[63.5,64]", "data.image_size=[0,64]",
        "data.batch_size=2.5", "data.batch_size=0", "data.num_frames=-1", "data.num_frames=1.5", "data.stride=0",
        "data.past_end=-1",
        "data.val_clips=0", "data.holdout=0.9", "data.holdout=-1", "data.holdout=nan", "data.fps=0", "data.fps=inf",
        "optimizer.lr=-1", "optimizer.lr=0", "optimizer.lr=nan", "optimizer.betas=[0.9,1.0]", "optimizer.eps=0",
        "trainer.max_steps=0", "trainer.max_steps=-5", "trainer.max_steps=1e-3", "trainer.max_steps=inf",
        "trainer.accumulate=0", "trainer.gradient_clip_val=-1", "trainer.val_check_interval=0.5",
        "trainer.log_every_n_steps=0", "schedule.warmup_steps=-1", "callbacks.checkpoint.every_n_train_steps=0",
        "callbacks.ema.decay=1", "model.tokenizer.width=-8", "recipe.tokenizer.max_steps=0", "data.min_quality=nan",
        "model.tokenizer.num_blocks=9223372036854775808",
        "data.actions.offset=1e-9", "recipe.dynamics.places=1.5", "callbacks.rollouts.horizon=1.5",
        "data.augmentation.crop=inf", "callbacks.rollouts.fps=nan", "callbacks.rollouts.delta_psnr_t=[nan]",
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused_under_the_key_that_was_given(defaults, override):
    key, value = override.split("=")
    cfg = copy.deepcopy(defaults)
    OmegaConf.update(cfg, key, OmegaConf.create(f"value: {value.replace('nan', '.nan').replace('inf', '.inf')}").value)
    with pytest.raises(UserError, match="must be") as error:
        check_settings(cfg, "train")
    assert str(error.value).startswith(f"{key}=")


# keys of an environment, whatever it calls them
OPEN = ("act.thresholds.", "data.recorder.env.", "data.recorder.policy.weights.")


def numbers_of(cfg):
    return {
        key
        for node, name, key in _leaves(cfg)
        if isinstance(node[name], int | float) and not isinstance(node[name], bool)
    }


@pytest.mark.slow
def test_every_number_of_every_command_and_preset_has_a_range(hydra):
    chosen = {"planner": ["act"], "hardware": ["plan_memory"], "text_to_image": ["generate"]}
    chosen |= {group: ["train", f"stage={group}"] for group in ("simulator", "reward", "policy")}
    chosen |= {group: ["train"] for group in ("stage", "data", "model", "trainer", "optimizer", "schedule", "debug")}
    found = {(command, key) for command in COMMANDS for key in numbers_of(compose(command))}
    for group, (command, *more) in chosen.items():
        for choice in group_options(group):
            found |= {(command, key) for key in numbers_of(compose(command, [*more, f"{group}={choice}"]))}
    assert len(found) > 250
    assert not [key for key in sorted(found) if kind_of(*key) is None and not key[1].startswith(OPEN)]


def test_a_whole_number_may_be_written_as_a_float(checked):
    cfg = checked("train", "trainer.max_steps=1e3", "data.image_size=[64.0,64]", "seed=4294967295")
    steps = OmegaConf.to_container(cfg.trainer, resolve=True)["max_steps"]
    assert steps == 1000 and isinstance(steps, int)
    assert all(isinstance(size, int) for size in cfg.data.image_size)


def test_a_word_is_a_text_whatever_was_typed(checked):
    cfg = checked("train", "callbacks.checkpoint.monitor=5", "trainer.precision=32", "objective=true")
    assert (cfg.callbacks.checkpoint.monitor, cfg.trainer.precision, cfg.objective) == ("5", "32", "true")


def test_a_preset_is_checked_like_an_override(checked, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("defaults: [episodes, _self_]\nroot: x\nstride: 1.5\n")
    with pytest.raises(UserError, match=r"data.stride=1.5 must be a whole number"):
        checked("train", "data=mine", f"hydra.searchpath=[{tmp_path}]")


def test_ranges_are_said_as_they_are_meant():
    assert str(kind_of("train", "seed")) == "a whole number from 0 to 4294967295"
    assert str(kind_of("train", "data.val_clips")) == "a whole number of at least 1"
    assert str(kind_of("train", "data.holdout")) == "a number above 0 and below 0.5"
    assert not isinstance(kind_of("train", "data.name"), Range)


@pytest.mark.parametrize(
    ("command", "override", "line"),
    [
        ("train", "optimizer.lr=fast", "optimizer.lr=fast must be a number above 0"),
        ("train", "resume=yes", "resume=yes must be true or false"),
        ("train", "data.image_size=[64]", "data.image_size=[64] must be two whole numbers, [height, width]"),
        (
            "train",
            "optimizer.betas=[0.9,1]",
            "optimizer.betas=[0.9,1]: each must be a number of at least 0 and below 1",
        ),
        ("train", "data.augmentation=3", "data.augmentation=3 must be keys and values in braces, as in {a: 1}"),
        ("train", "objective=[a,b]", "objective=[a,b] must be one word or text"),
        ("train", "schedule.name=steps", "schedule.name=steps must be one of constant, cosine, wsd"),
        (
            "train",
            "trainer.devices=0",
            "trainer.devices=0 must be a number of devices, a list of their numbers, or auto",
        ),
        ("evaluate", "delta_psnr.t=4", "delta_psnr.t=4 must be a list in brackets, as in [a,b]"),
        ("evaluate", "long_rollout.hold=0.5", "long_rollout.hold=0.5 must be a number of at least 1"),
        ("play", "fps=500", "fps=500 must be a number above 0 and at most 120"),
        ("play", "terminal=1", "terminal=1 must be true or false"),
        ("curate", "min_quality=9", "min_quality=9 must be a number above 1 and at most 5"),
        ("agent", "collect.frames.val=1", "collect.frames.val=1 must be a whole number of at least 2"),
        (
            "play",
            "play.host=' '",
            "play.host=' ' must be a name or an address: 127.0.0.1 for this machine alone, 0.0.0.0 to let others in",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(checked, command, override, line):
    with pytest.raises(UserError) as error:
        checked(command, *(["run=x"] if command in ("evaluate", "play") else []), override)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("command", "override", "choices"),
    [
        ("train", "data.source=films", "episodes, videos, webdataset, lerobot, minari, stream"),
        ("train", "data.fit=stretch", "squeeze, pad, pad_edge, crop"),
        ("train", "data.on_error=stop", "skip, raise"),
        ("train", "data.quality_splits=[train,tset]", "train, val, test"),
        ("train", "data.augmentation.flip=left", "horizontal, vertical, null"),
        ("record", "data.recorder.policy.continuous=jerky", "held, smooth"),
        ("convert", "data.videos.decoder=opencv", "auto, pyav, decord"),
        ("convert", "data.videos.cuts=always", "none, detect"),
        ("convert", "format=mp4", "episodes, stream"),
        ("replay", "split=all", "train, val, test"),
        ("train", "trainer.on_nan=panic", "stop, skip, rollback"),
        ("train", "trainer.gather_precision=fp8", "bf16, null"),
        ("train", "optimizer.name=sgd", "adamw, muon"),
        ("train", "launcher.name=mpi", "local, torchrun, slurm"),
        ("train logger=wandb", "logger.wandb.mode=on", "auto, online, offline, disabled"),
        ("train", "callbacks.checkpoint.mode=lowest", "auto, min, max"),
        ("train", "callbacks.stop.requeue_on=[SIGHUP]", "SIGTERM, SIGUSR1, SIGINT"),
        ("train", "callbacks.rollouts.attention.heads=all", "mean, separate"),
        ("train", "callbacks.rollouts.sampler.order=raster", "confidence, random"),
        ("train", "recipe.tokenizer.schedule=linear", "cosine, wsd, constant"),
        ("train", "stage.reconstruction=l1", "mse, bce"),
        ("train stage=lam", "recipe.lam.weighting=ghost", "symmetric, target"),
        ("train stage=cotrain", "stage.lam.weighting=null", "symmetric, target"),
        ("train stage=dynamics", "stage.actions=true_ones", "latent, environment"),
        ("train stage=dynamics", "stage.context=some", "masked, clean"),
        ("train stage=dynamics", "stage.unseen_actions=closest", "nearest, null"),
        ("train stage=policy policy=latent_bc", "policy.actions=all", "environment, latent"),
        ("train stage=simulator", "simulator.imagine=often", "sample, mode"),
        ("train stage=simulator simulator=delta", "simulator.propagate=all", "member, mean"),
        ("pipeline", "steps=[record,tokeniser]", "record, tokenizer, lam, dynamics, cotrain, reward, evaluate"),
        ("agent", "stages=[polcy]", "tokenizer, lam, dynamics, cotrain, simulator, reward, policy"),
        ("evaluate", "world=rssm", "genie, simulator"),
        ("evaluate", "split=all", "train, val, test"),
        ("evaluate", "fvd.baselines=[nothing]", "copy_last, background, random_actions, reconstruction"),
        ("evaluate", "fvd.resize=bicubic", "bilinear, legacy"),
        ("generate", "prompt_kind=poem", "auto, sketch, text"),
        ("generate", "prompt_fit=stretch", "squeeze, pad, pad_edge, crop"),
        ("generate", "text_to_image.dtype=int8", "float32, float16, bfloat16"),
        ("curate", "step=rate", "label, train, score, null"),
        ("curate", "features=lite", "lite0, resnet18, none"),
        ("export", "dtype=fp8", "fp32, bf16, null"),
    ],
)
def test_another_choice_than_there_is(checked, command, override, choices):
    command, *more = command.split()
    more += ["data.root=x"] if command == "convert" else ["run=x"] if command in ("evaluate", "generate") else []
    with pytest.raises(UserError) as error:
        checked(command, *more, override)
    each = ": each" if "[" in override else ""
    assert str(error.value) == f"{override}{each} must be one of {choices}"


@pytest.mark.parametrize(
    ("command", "override", "words"),
    [
        ("record", "data.recorder.num_frames.val=1", "must be a whole number of at least 2"),
        ("record", "data.recorder.max_episode_steps=null", "must be a whole number of at least 1"),
        ("train", "data.augmentation.crop=0.95", "must be a number from 0 to 0.9"),
        ("train", "data.augmentation.hue=0.6", "must be a number from 0 to 0.5"),
        ("convert", "data.videos.cut_threshold=1", "must be a number above 0 and below 1"),
        ("curate", "picture_size=16", "must be a whole number of at least 32"),
        ("evaluate", "imagination.batches=[]", "must not be empty"),
    ],
)  # fmt: skip
def test_a_value_outside_of_what_there_can_be(checked, command, override, words):
    more = {"convert": ["data.root=x"], "evaluate": ["run=x"], "play": ["run=x"]}.get(command, [])
    with pytest.raises(UserError) as error:
        checked(command, *more, override)
    assert str(error.value) == f"{override} {words}"


def test_choices_that_name_an_entry_of_a_table_are_all_of_its_entries():
    def choices(settings, field):
        return {*re.findall(r"'([^']+)'", str(settings.model_fields[field].annotation))}

    assert choices(data.Data, "source") == {*SOURCES}
    assert choices(data.Videos, "decoder") == {*DECODERS}
    assert choices(data.RecordingPolicy, "continuous") == {*CONTINUOUS}
    assert choices(commands.AgentConfig, "stages") == {*STAGES}
    assert choices(commands.ExportConfig, "dtype") == {*DTYPES}
    assert choices(commands.EvaluateConfig, "world") == {*KINDS}
    assert choices(commands.EvaluateConfig, "split") == {*SPLITS}
    assert {*get_args(kinds.Reconstruction)} == {*RECONSTRUCTIONS} and {*get_args(world.Order)} == {*ORDERS}
    assert {number.name for number in SIGNALS} == choices(training.Stop, "requeue_on")


def test_a_choice_of_a_group_has_the_keys_of_that_choice(checked):
    with pytest.raises(UserError, match="planner.optimizer.candidates=2 must be a whole number of at least 4"):
        checked("act", "run=x", "planner=mpc", "planner.optimizer.candidates=2")
    with pytest.raises(UserError, match="policy.range_decay=2 must be a number from 0 to 1"):
        checked("train", "stage=policy", "policy.range_decay=2")


def test_a_preset_may_give_some_keys_of_a_group_that_another_stage_brings(checked, tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\npolicy: {horizon: 3}\nreward: {discount: 0.9}\nsimulator: {imagination_horizon: 3}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    given = [f"hydra.searchpath=[{tmp_path}]", "experiment=mine"]
    checked("train", *given)
    assert checked("train", *given, "stage=policy").policy.horizon == 3
    with pytest.raises(UserError, match="policy.horizon=0 must be a whole number of at least 1"):
        checked("train", *given, "stage=policy", "policy.horizon=0")


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("train", ["schedule=constant", "+schedule.decay_steps=0"]),  # another schedule's key
        ("train", ["data.actions=null"]),
        ("train", ["model.lam=null"]),
        ("train", ["trainer.devices=[0,1]"]),
        ("replay", ["episodes=[0,2]"]),
        ("generate", ["run=x", "text_to_image._target_=mine.Model", "++text_to_image.model={name: x}"]),
    ],
)
def test_what_is_unusual_and_valid_passes(checked, command, given):
    checked(command, *given)


@pytest.mark.parametrize(
    ("command", "override", "line"),
    [
        ("act", "++act.thresholds={MyEnv-v0.1: high}", "act.thresholds.MyEnv-v0.1=high must be a number"),
        ("train", "objective=null", "objective=null must be one word or text"),
        ("train", "data.num_workers='\"4\"'", 'data.num_workers="4" must be a whole number from 0 to 1024'),
        ("train", f"data.fps={10**300}", "must be a number above 0 and at most 1000"),
        ("replay", "episodes=1e1", "episodes=10.0 must be a number of episodes"),
    ],
)
def test_odd_values_are_one_line(checked, command, override, line):
    with pytest.raises(UserError) as error:
        checked(command, *(["run=x", "agent=random"] if command == "act" else []), override)
    assert line in str(error.value)


def test_the_configuration_of_another_command_is_checked_and_has_whole_numbers(hydra):
    config = composed("act", ["run=x", "planner=cem", "act.parallel=4.0", "act.max_steps=1e2"])
    assert [(value, type(value)) for value in (config.act.parallel, config.act.max_steps)] == [(4, int), (100, int)]
    with pytest.raises(UserError, match="act.videos=-1"):
        composed("act", ["run=x", "planner=cem", "act.videos=-1"])


def test_an_argument_outside_of_a_range_is_one_line():
    Range(1).require("num_envs", 4)
    for value in (0, 4.0, True, "4"):
        with pytest.raises(UserError, match=f"num_envs={value!r} must be a whole number of at least 1"):
            Range(1).require("num_envs", value)


def test_a_command_gets_its_settings_as_an_object(hydra):
    config = resolved("act", ["run=x", "planner=mpc", "+mine=3"])
    assert isinstance(config, ActConfig) and isinstance(config.planner.optimizer, CemSearch)
    assert config.planner.optimizer.elites == 0.125 and config.act.budget.candidates == [] and config.mine == 3
    plain = config.plain()
    assert plain["planner"]["optimizer"]["elites"] == 0.125 and plain["mine"] == 3
    assert typed("act", plain) == config and typed("plan_memory", {"json": None}) == {"json": None}


def test_what_a_group_lacks_and_what_is_wrong_in_it_is_named(hydra):
    plain = resolved("act", ["run=x", "planner=mpc"]).plain()
    optimizer = plain["planner"]["optimizer"]

    def problem(**changes):
        changed = {key: value for key, value in {**optimizer, **changes}.items() if value != "missing"}
        with pytest.raises(UserError) as error:
            typed("act", {**plain, "planner": {**plain["planner"], "optimizer": changed}})
        return str(error.value)

    assert problem(elites=2) == "planner.optimizer.elites=2 must be a number above 0 and at most 1"
    assert problem(elites="missing") == "planner.optimizer.elites is not given"
    assert problem(name="best") == "planner.optimizer.name=best must be one of random_shooting, cem, mppi"
    del plain["seed"]
    with pytest.raises(UserError, match=r"^seed is not given$"):
        typed("act", plain)


def test_keys_of_a_mapping_may_be_numbers(hydra):
    config = resolved("inspect", ["data=pong", "data.augmentation={flip: horizontal, flip_actions: {1: 2, 2: 1}}"])
    assert config.plain()["data"]["augmentation"]["flip_actions"] == {1: 2, 2: 1}
