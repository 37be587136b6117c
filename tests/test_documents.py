"""What the documents say can be typed can be: commands, keys, groups and choices exist, and so do linked files."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from genie.common.config_errors import group_options
from genie.common.overrides import check_given, renamed, spelled
from genie.common.settings.schema import check_settings, optional_keys
from genie.publishing.metrics_document import anchor

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "outputs" / "README.md"]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
CODE = re.compile(r"^```.*?^```$|^ {4}[^\n]*$", re.DOTALL | re.MULTILINE)
# python -m genie.train …; as code, genie train …
STARTED = r"(?:python -m genie\.|(?:^    |`)genie )(?!completion|help)(\w+)\b(?!\.\w)"
COMMAND = re.compile(STARTED + r"((?:[ \t]+[^\s`|#][^\s`|]*)*)", re.MULTILINE)
SOURCES = {path.stem: path.read_text() for path in sorted((ROOT / "genie").glob("*.py"))}
MAINS = {name: main[1] for name, text in SOURCES.items() if (main := re.search(r'^@hydra_main\("(\w+)"', text, re.M))}
# a.b=… that is not ~a.b=, nor of a path or an address; and `a.b` below a group
KEY = re.compile(r"(?<![\w./~-])(\+{0,2})([a-z_]\w*(?:\.(?:\w+|\*))+)=")
NAMED = re.compile(
    r"`()((?:model|recipe|sampler|trainer|callbacks|optimizer|schedule|stage|data)(?:\.(?:\w+|\*(?=\.)))+)(?:\.\*)?`"
)
CHOICES = {  # of which keys are those of a choice that is none by default
    "train": (
        "stage",
        "data",
        "trainer",
        "launcher",
        "optimizer",
        "schedule",
        "logger",
        "policy",
        "reward",
        "simulator",
    ),
    "act": ("planner",),
}


@pytest.fixture(scope="module", autouse=True)
def configurations():
    with initialize_config_module("conf", version_base="1.3"):
        yield


def commands() -> list[tuple[str, str, str]]:
    """(document, command, its words) of all that are shown, continued lines joined, of alternatives the first."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text().replace("\\\n", " ").replace("\\|", "|")
        text = re.sub(r"(=\w+)(\|\w+)+", r"\1", text)
        found += [(document.name, command, words.strip()) for command, words in COMMAND.findall(text)]
    return sorted(set(found))


def keys() -> list[tuple[str, str, str]]:
    """(document, + or ++ or nothing, key) of `KEY` and `NAMED` in the documents; a * stands for each part of models."""
    found = set()
    for document in DOCUMENTS:
        text = document.read_text()
        for sign, key in KEY.findall(text) + NAMED.findall(text):
            parts = ("tokenizer", "lam", "dynamics") if "*" in key else ("",)
            found |= {(document.name, sign, key.replace("*", part)) for part in parts}
    return sorted(found)


def nodes(config: DictConfig, prefix: str = ""):
    """The keys of everything in a configuration, also of groups."""
    for name in config:
        yield f"{prefix}{name}"
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and not OmegaConf.is_interpolation(config, name):
            yield from nodes(node, f"{prefix}{name}.")


def overrides_of_choice(group: str, choice: str) -> list[str]:
    stage = {"policy": ["stage=policy"], "reward": ["stage=reward"], "simulator": ["stage=simulator"]}.get(group, [])
    return [*stage, f"{group}={choice}"]


@pytest.fixture(scope="module")
def composable():
    """Every key that some command composes."""
    given = [(command, []) for command in MAINS]
    given += [
        (command, overrides_of_choice(group, choice))
        for command, groups in CHOICES.items()
        for group in groups
        for choice in group_options(group)
    ]
    given.append(("train", ["hydra/launcher=slurm", "hydra/sweeper=optuna"]))
    return {key for command, overrides in given for key in nodes(compose(command, overrides, return_hydra_config=True))}


def test_the_documents_show_commands_and_keys():
    assert len([1 for document, *_ in commands() if document == "README.md"]) >= 3
    assert {command for _, command, _ in commands()} == {*MAINS} and all(name == MAINS[name] for name in MAINS)
    assert len(keys()) > 100 and ("ablations.md", "", "model.tokenizer.architecture") in keys()


@pytest.mark.parametrize(("document", "command", "words"), commands(), ids=lambda value: value)
def test_a_documented_command_composes(document, command, words):
    assert command in MAINS
    words = [word for word in shlex.split(words) if not re.fullmatch(r"-.*|job|…|\.\.\.", word)]
    # a sweep's list of values is not one value
    words = [re.sub(r"=([^\[{',]+),.*", r"=\1", word) for word in words]
    config = compose(command, spelled(words, command), return_hydra_config=True)
    check_given(config.hydra.overrides.task)
    check_settings(config, command)


def test_a_documented_key_is_one_of_some_command(composable):
    missing = []
    for document, sign, key in keys():
        optional = sign == "" and spelled([f"{key}=1"], "train")[0].startswith("+")
        added = sign != "" and key.rpartition(".")[0] in composable
        names = {renamed(f"{key}=", command).removesuffix("=") for command in MAINS}
        if not (names & composable or optional or added):
            missing.append(f"{document}: {sign}{key}")
    assert not missing


@pytest.mark.parametrize("preset", group_options("model"))
def test_documented_keys_of_models_and_recipes_may_be_given_with_every_preset(preset):
    every = [(sign, key) for _, sign, key in keys() if key.partition(".")[0] in ("model", "recipe", "sampler")]
    given = {f"{sign}{key}=1" for sign, key in every if key not in optional_keys("train")}  # which are groups
    compose("train", spelled([f"model={preset}", *sorted(given)], "train"))


@pytest.mark.parametrize("document", LINKING, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document):
    for target, heading in LINK.findall(CODE.sub("", document.read_text())):
        path = document.parent / target if target else document
        assert path.exists(), f"{document.name} links to {target}"
        if heading:
            assert heading in headings(path), f"{document.name} links to {target}#{heading}"


def headings(page: Path) -> set[str]:
    lines = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {anchor(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line)) for line in lines}


def test_the_readme_is_one_screen_and_a_half():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
