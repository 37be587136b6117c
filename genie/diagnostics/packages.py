"""Packages: whether those that are needed are there, new enough and importable; which extras are missing.

What is needed is read from the metadata of the installed package, which pyproject.toml becomes.
"""

import importlib
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

import genie
from genie.common.errors import failure
from genie.common.program import HOME, OTHER_PACKAGES, misplaced
from genie.diagnostics.finding import Finding

PART = "packages"
NAME = "genie-world"
MODULES = {"hydra-core": "hydra", "pillow": "PIL", "ale-py": "ale_py", "eva-decord": "decord"}  # of other names
SHOWN = ("torch", "lightning", "hydra-core", "numpy", "gymnasium", "ale-py")  # each on a line of its own
EXTRAS = {  # what each is for; `dev` is for the tests
    "wandb": "logger=wandb: runs in Weights & Biases",
    "tensorboard": "logger=tensorboard",
    "mlflow": "logger=mlflow: runs in MLflow",
    "dashboards": "genie dashboard: a workspace and a report in Weights & Biases",
    "sweeps": "hparams_search=…: searches by Optuna",
    "slurm": "launcher=slurm: jobs of a cluster",
    "minatar": "data=minatar_breakout, and the other games of MinAtar",
    "procgen": "data=coinrun, and the other games of Procgen",
    "classic": "pictures of CartPole, Pendulum and their like",
    "mujoco": "data=hopper, and the other robots of MuJoCo",
    "dm-control": "data=cartpole_swingup, and the other tasks of DeepMind Control",
    "minari": "data=minari: data sets of Minari",
    "lerobot": "data=lerobot: data sets of LeRobot",
    "hub": "run=hf://user/name, and genie.export hub=user/name",
    "docs": "the documentation as a site (make docs)",
    "stream": "data=stream: data in object storage",
    "decord": "data.videos.decoder=decord, beside PyAV",
    "curation": "features=resnet18 of genie curate",
    "text": "text_model=…: prompts drawn from a text",
}


def packages() -> Iterator[Finding]:
    """Python, this package, and what it needs: every required package is imported."""
    yield Finding(PART, "python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding(PART, NAME, "ok", f"{genie.__version__}, {HOME}")
    if (needed := required()) is None:
        yield Finding(PART, NAME, "note", "a checkout that is not installed", "pip install -e . gives it its name")
        return
    others = []
    for one in needed:
        error = problem(one)
        if error is not None:
            yield Finding(PART, one.name, "broken", error, f"pip install '{one.name}{one.specifier}'")
        elif one.name in SHOWN:
            yield Finding(PART, one.name, "ok", metadata.version(one.name))
        else:
            others.append(one.name)
    yield Finding(PART, "others", "ok", f"{len(others)} more, all importable")


def own_packages() -> Iterator[Finding]:
    """Whether the packages of common names, such as conf, are this project's and nobody else's."""
    for name, where in misplaced():
        yield Finding(PART, name, "broken", f"would be imported from {where}", f"it should be in {HOME}")
    brought_by = metadata.packages_distributions()
    for name in OTHER_PACKAGES[:-1]:  # hydra_plugins is shared
        if others := sorted({*brought_by.get(name, ())} - {NAME}):
            yield Finding(PART, name, "note", f"also brought by {', '.join(others)}", "use a virtual environment")


def extras() -> Iterator[Finding]:
    """What each extra is for, and the line that installs it where it is missing."""
    if required() is None:
        return
    known = metadata.metadata(NAME).get_all("Provides-Extra") or []
    for extra, purpose in EXTRAS.items():
        if extra not in known:
            continue  # of another version
        declared = [one for one in requirements(NAME, extra) if one not in requirements(NAME)]
        if not declared:
            yield Finding("extras", extra, "missing", f"{purpose}: not for {platform.system()}")
        elif absent := sorted({name for one in declared for name in unmet(one)}):
            line = f"pip install 'genie-world[{extra}]'"
            yield Finding("extras", extra, "missing", f"{purpose} (no {', '.join(absent)})", line)
        else:
            yield Finding("extras", extra, "ok", purpose)


def required() -> list[Requirement] | None:
    """What this package needs in any case, on this machine; None in a checkout that is not installed."""
    try:
        return requirements(NAME)
    except metadata.PackageNotFoundError:
        return None


def requirements(package: str, extra: str = "") -> list[Requirement]:
    """What an installed package declares to need on this machine, with an extra as well."""
    declared = [Requirement(line) for line in metadata.requires(package) or []]
    return [one for one in declared if one.marker is None or one.marker.evaluate({"extra": extra})]


def problem(needed: Requirement) -> str | None:
    """Why a required package is of no use here: missing, too old, or not importable."""
    if absent := unmet(needed):
        return f"not there, or too old: {', '.join(absent)}"
    try:
        importlib.import_module(MODULES.get(needed.name, needed.name.replace("-", "_")))
    except Exception as error:  # a package with native code may raise anything
        return failure(error)
    return None


def unmet(needed: Requirement) -> list[str]:
    """The packages that keep a requirement and its extras from being met."""
    try:
        version = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return [needed.name]
    if not needed.specifier.contains(version, prereleases=True):
        return [f"{needed.name}{needed.specifier}, only {version}"]
    always = requirements(needed.name) if needed.extras else []
    more = [one for extra in needed.extras for one in requirements(needed.name, extra) if one not in always]
    return [name for one in more for name in unmet(one)]


def accounts() -> Iterator[Finding]:
    """Weights & Biases: where runs would be logged."""
    from callbacks.wandb_run import wandb_missing, wandb_mode

    if unmet(Requirement("wandb")):
        return  # an extra that is missing
    missing = wandb_missing()
    if mode := os.environ.get("WANDB_MODE"):
        yield Finding("accounts", "wandb", "ok", f"{mode}, as WANDB_MODE says")
    elif missing:
        line = f"logger=wandb logs offline: no {missing}"
        yield Finding("accounts", "wandb", "note", line, "" if "login" in missing else "wandb sync sends runs later")
    else:
        yield Finding("accounts", "wandb", "ok", f"logged in, {wandb_mode('auto')}")
