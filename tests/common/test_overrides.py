"""Values as people type them: a path or a text is what it says, and the rest is what Hydra reads."""

import inspect
import itertools
import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module

from genie.common.cli import hydra_main
from genie.common.config_errors import group_options
from genie.common.overrides import composed, override, quoted, spelled, unquoted
from genie.common.settings.commands import COMMANDS
from genie.common.settings.schema import fields, is_text, optional_keys
from genie.models.dynamics import DynamicsModel
from genie.models.latent_action import LatentActionModel
from genie.models.st_transformer import STTransformer
from genie.models.tokenizer import VideoTokenizer

CONF = Path(__file__).parents[2] / "conf"
TEXTS = [
    "pr/日本.png", "x=1/a.h5", "good (1)", "a b=c [1] {x} ünï 日本 #%&'", "100%", "a#b", "a(b", "[1", "[1]/a.h5",
    "[1]", "[a,b", "{x}", "{a: 1}", "a~b", "a,b", "a, b", "it's", 'over "lava"!', "'a' b", "$HOME/x", "${x",
    "a:b", "me@home", "a;b|c<d>e`f^g", " a ", "C:\\x\\y", "C:\\", "\\\\server\\share", "a\\'b",
    "line\nbreak", "123", "1e3", "007", "1_000", "true", "No", "nan", "0x10", "-1", "*.h5", "?", "=", "~",
    "😀",
]  # fmt: skip


@pytest.fixture
def run(monkeypatch, run_main, tmp_path):
    """run(command, *words): the configurations that a command line gives its command; AssertionError for an error."""
    monkeypatch.chdir(tmp_path)

    def start(command, *words):
        configs = []

        @hydra_main(command)
        def main(config):
            configs.append(config)

        code, _, err = run_main(main, *words)
        assert code == 0, err
        return configs

    return start


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_text_is_what_was_typed(text):
    with initialize_config_module("conf", version_base="1.3"):
        for given in ([f"prompt={text}"], spelled([f"prompt={text}"], "generate"), [override("prompt", text)]):
            assert composed("generate", given).prompt == text
    assert unquoted(quoted(text)).replace("\\${", "${") == text


def test_every_text_of_a_command_line_arrives(run):
    text = "a b=c [1] {x} ünï 日本 #%&'"
    words = [f"{key}={text}" for key in ("name", "data.root", "tokenizer_ckpt", "+more.of.it")]
    (config,) = run("train", *words, f"output_dir={text}", "seed=3", "data.image_size=[32,64]")
    assert config["name"] == config["data"]["root"] == config["tokenizer_ckpt"] == config["more"]["of"]["it"] == text
    assert config["run_dir"] == f"{text}/{text}/tokenizer" and config["seed"] == 3
    assert config["data"]["image_size"] == [32, 64]


def test_what_hydra_reads_itself_stays():
    words = [
        "name=null", "name=", "name='a b'", 'name="1"', "name=${data.name}", "name=${data.name}/x y",
        "name=a\\,b", "name=a b", "~name", "-m", "--config-dir=a,b", "data=pong", "stage=lam,tokenizer",
        "optimizer.lr=1e-3,3e-4", "name=choice(a,b)", "seed=range(1,4)", "data.image_size=[64,64]",
        "play.actions={0: stay, 1: up}", "run=[a,b]", "+prompt=a b", "name=???", "labels=[1,2]",
        "hydra.mode=RUN", "not an override", "a b=c",
    ]  # fmt: skip
    assert spelled(words, "label_curve") == words


def test_lists_and_mappings_need_no_quotes_either(run):
    (config,) = run("evaluate", "run=[outputs/日本,outputs/a=b,1,'c,d']")
    assert config.run == ["outputs/日本", "outputs/a=b", "1", "c,d"]
    (config,) = run("pipeline", "evaluate=[num_clips=32,parts=[rollout,fvd],output=日 本]")
    assert config["evaluate"] == ["num_clips=32", "parts=[rollout,fvd]", "output=日 本"]
    (config,) = run("play", "run=x", "play.actions={0: stäy, 1: up}")
    assert config.play.actions == {0: "stäy", 1: "up"}


def test_a_comma_is_a_list_of_jobs_only_in_a_sweep(run):
    assert [config.ratings for config in run("rate", "ratings=a,b")] == ["a,b"]
    assert [config.ratings for config in run("rate", "-m", "ratings=日本,1e3, 'a,b'")] == ["日本", "1e3", "a,b"]


def test_a_search_is_a_sweep():
    for start in ("hparams_search=lam", "--multirun", "hydra.mode=MULTIRUN"):
        assert spelled([start, "name=a,b"], "train", sweep=None)[1] == "name=a,b"
    assert spelled(["hparams_search=lam", "hydra.mode=RUN", "name=a,b"], "train", sweep=None)[2] == "name='a,b'"


def test_the_home_folder_is_found_without_a_shell(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert spelled(["videos=~/films", "data.root=~/a #1", "name=~x"], "convert") == [
        "videos=/home/me/films",
        "data.root='/home/me/a #1'",
        "name='~x'",
    ]


@pytest.mark.parametrize(
    ("command", "word", "meant"),
    [
        ("act", "policy=a/b", "act.policy=a/b"),
        ("act", "env=ALE/Pong-v5", "env.id=ALE/Pong-v5"),
        ("generate", "prompt.kind=sketch", "prompt_kind=sketch"),
        ("play", "prompt.fit=crop", "prompt_fit=crop"),
        ("label_curve", "policy=a/b", "act.policy=a/b"),
        ("label_curve", "checkpoint=a/b", "act.policy=a/b"),
        ("train", "policy=latent_bc", "policy=latent_bc"),
        ("train", "model.tokenizer.architecture=vit", "++model.tokenizer.architecture=vit"),
        ("train", "model.lam.transformer.dropout=0.1", "++model.lam.transformer.dropout=0.1"),
        ("pipeline", "recipe.reward.max_steps=5", "++recipe.reward.max_steps=5"),
    ],
)
def test_other_names_of_keys(command, word, meant):
    assert spelled([word], command) == [meant]


def test_every_option_of_a_model_may_be_given_with_every_preset():
    models = {"tokenizer": VideoTokenizer, "lam": LatentActionModel, "dynamics": DynamicsModel}
    for part, model in models.items():
        options = inspect.signature(model).parameters.values()
        optional = {option.name for option in options if option.default is not option.empty}
        optional -= {"levels"} if part == "dynamics" else set()  # those of the tokenizer
        assert {*optional_keys("train")[f"model.{part}"]} - {"input"} == optional, part
        transformer = {*inspect.signature(STTransformer).parameters}
        assert {*optional_keys("train")[f"model.{part}.transformer"]} <= transformer, part
    given = ["model.tokenizer.architecture=vit", "model.lam.copy_last=true", "model.dynamics.conditioning=film"]
    with initialize_config_module("conf", version_base="1.3"):
        for preset in ("coinrun", "pong"):
            model = composed("train", [f"model={preset}", *given]).model
            assert (model.tokenizer.architecture, model.lam.copy_last) == ("vit", True), preset


def test_every_key_that_a_recipe_may_have_may_be_given_with_every_preset():
    texts = [path.read_text() for path in CONF.rglob("*.yaml")]
    read = {match for text in texts for match in re.findall(r"oc\.select:recipe\.(\w+)\.(\w+)", text)}
    of_every_stage = r"recipe\.\$\{(?:stage|oc\.select:stage)\.name(?:,\w+)?\}\.(\w+)"
    keys = {key for text in texts for key in re.findall(of_every_stage, text)}
    read |= {(stage, key) for stage in group_options("stage") for key in keys}
    assert {
        (stage, key) for stage in group_options("stage") for key in optional_keys("train")[f"recipe.{stage}"]
    } == read
    with initialize_config_module("conf", version_base="1.3"):
        for preset, stage in zip(group_options("model"), itertools.cycle(group_options("stage"))):
            given = [
                f"recipe.{part}.{key}=7"
                for part in group_options("stage")
                for key in optional_keys("train")[f"recipe.{part}"]
            ]
            config = compose(
                "train", spelled([f"model={preset}", f"stage={stage}", "sampler.order=random", *given], "train")
            )
            assert {value for part in group_options("stage") for value in config.recipe[part].values()} == {7}
            assert config.sampler.order == "random" and config.data.past_end == config.trainer.max_steps == 7


@pytest.mark.parametrize("preset", ["debug", "pong", "coinrun"])
def test_the_recipe_of_one_stage_is_not_that_of_another(preset):
    with initialize_config_module("conf", version_base="1.3"):
        before = composed("train", [f"model={preset}"]).recipe.dynamics.max_steps
        for stage in ("lam", "cotrain"):
            recipe = composed("train", [f"model={preset}", f"stage={stage}", f"recipe.{stage}.max_steps=7"]).recipe
            assert recipe[stage].max_steps == 7 and recipe[stage].batch_size > 0
            assert recipe.dynamics.max_steps == before
        given = [f"model={preset}", "stage=cotrain", "recipe.dynamics.max_steps=7", "recipe.dynamics.past_end=3"]
        config = composed("train", given)
        assert (config.trainer.max_steps, config.data.past_end) == (7, 3)


def leaves(config, prefix):
    """(key, value) of all values below a mapping that are no mappings."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


OPEN = (  # keys of an environment, of a library, or of the user
    r"(hydra|overrides|ablation\.columns|ablation\.variants|act\.thresholds|data\.recorder\.env\.kwargs|data\.recorder\.action_groups|data\.recorder\.policy\.weights|simulator\.sizes)\.|.*_target_"
)


def configured():
    """(command or "", key, value) of every value in conf/ that is not just taken from another key."""
    for path in sorted(CONF.rglob("*.yaml")):
        text, group = path.read_text(), path.relative_to(CONF).parent.as_posix()
        content = yaml.safe_load(text) or {}
        everywhere = group == "." or text.startswith("# @package _global_")
        prefix = "" if everywhere else group.replace("/", ".") + "."
        for key, value in leaves({k: v for k, v in content.items() if k not in ("defaults", "hydra")}, prefix):
            if not re.fullmatch(r"\$\{[^{}]*(\{[^{}]*\}[^{}]*)*\}", str(value)):
                yield path.stem if group == "." else "", key, value


def test_every_key_of_the_configuration_is_in_the_schema():
    left_out, wrong = set(), set()
    for command, key, value in configured():
        if re.match(OPEN, key):
            continue
        commands = [command] if command in COMMANDS else COMMANDS
        if not any(key in fields(name) for name in commands):
            left_out.add(key)
        if any(is_text(name, key) for name in commands) and not (value is None or isinstance(value, str)):
            wrong.add(f"{command}: {key}")
    assert not left_out and not wrong
