"""What a user may write on a command line: any key of a command with an odd value, a misspelt one, a wrong group.

The command runs as it does from a shell, from Hydra's composition on, in this process, and up to the work that takes
long, in whose place it is stopped. It has to get there, or to end with one line and exit code 2 or 1. A number that is
none (NaN) is no value of any key, and a fraction none of a key that counts: to get there with it is a silent change.
"""

import contextlib
import copy
import functools
import importlib
import io
import json
import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.global_hydra import GlobalHydra

from genie.common.config_errors import group_options
from genie.common.errors import RunError, UserError
from genie.common.settings.schema import is_text
from genie.common.web import Loading
from tests.fuzz import goods
from tests.fuzz.harness import NUMBERS, SilentChange, odd_value

# command: (its module, the function in whose place it is stopped, what it is given)
COMMANDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "train": ("genie.train", "genie.training.train.fit",
              (*goods.TINY, "data.root=data", "trainer=cpu", "output_dir=out", "overwrite=true")),
    "record": ("genie.record", "data_modules.environments.recorder.EpisodeRecorder.record",
               (f"env.id={goods.ENVIRONMENT}", "data.root=new", "data.image_size=[8,8]")),
    "generate": ("genie.generate", "genie.play_server.generate.write_mp4", ("run=outputs/world", "num_frames=4")),
    "evaluate": ("genie.evaluate", "genie.evaluation.evaluate.measure",
                 ("run=outputs/world", "num_clips=4", "horizon=2", "prompt_frames=2", "output=out/evaluation")),
    "act": ("genie.act", "genie.agents.act.play",
            ("run=outputs/world", "act.labels=12", "overwrite=true", "output=out/acting", "agent=random")),
    "play": ("genie.play", "genie.common.web.serve", ("run=outputs/world", "play.port=0", "play.threads=1")),
    "convert": ("genie.convert", "genie.datasets.convert.write_parts",
                ("data=episodes", "data.root=data", "data.image_size=[8,8]", "output=out/converted.h5")),
    "inspect": ("genie.inspect", "genie.datasets.inspect.data_facts",
                ("data=episodes", "data.root=data", "data.image_size=[8,8]", "data.num_frames=4")),
}  # fmt: skip
# keys whose number may be a fraction, though their default is whole
REAL = {
    "fps", "lr", "min_lr", "weight_decay", "betas", "eps", "crop", "shift", "brightness", "contrast", "saturation",
    "hue", "temperature", "entropy_bound", "guidance", "idle_seconds", "min_quality", "discount", "spread",
    "wall_margin", "follow_share", "follow_noise", "hold", "success", "Pendulum-v1", "ALE/Pong-v5", "clip",
    "gradient_clip_val", "every_seconds", "line_seconds", "refresh_seconds", "val_check_interval",
    "limit_val_batches", "threshold",
}  # fmt: skip


class Reached(BaseException):
    """The command has come to its work."""


def loaded(app: Loading, *arguments: Any) -> None:
    """Instead of the server of `genie.play`: what it would load beside it."""
    app.build(app.loopback)
    raise Reached


INSTEAD = {"play": loaded}


class ConfigValues:
    """A folder with data and a world, in which commands are called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a" / "b" / "c"  # a value may lead some folders up
        goods.write_run(self.folder / "outputs" / "world", goods.write_data(self.folder / "data"))
        self.keys = {name: leaves(goods.configuration(name, *given)) for name, (_, _, given) in COMMANDS.items()}
        self.groups = sorted(name for name in os.listdir(Path(importlib.import_module("conf").__file__).parent)
                             if not name.startswith("_") and "." not in name)  # fmt: skip

    def close(self) -> None:
        pass

    def example(self, chance: random.Random, note: Callable[[str], None]) -> None:
        name = chance.choice(list(COMMANDS))
        words, changed = [], {}
        for _ in range(chance.choice((1, 1, 1, 2))):
            word, key, value = self._odd_word(chance, name)
            words.append(word)
            if key is not None:
                changed[key] = value
        if chance.random() < 0.2 and name == "train":
            words.insert(0, f"stage={chance.choice(('lam', 'dynamics', 'cotrain', 'simulator', 'reward', 'policy'))}")
        if chance.random() < 0.3 and name == "act":
            words.insert(0, f"planner={chance.choice(('cem', 'mpc', 'mppi', 'random_shooting'))}")
        note(f"genie.{name} {' '.join(words)}")
        self._call(name, words)
        for key, value in changed.items():
            self._require_number(name, key, value)

    def _require_number(self, name: str, key: str, value: Any) -> None:
        """Raises `SilentChange` for a value that no key can have that has such a default."""
        default = self.keys[name].get(key)
        if isinstance(value, bool | str) or not isinstance(value, int | float) or isinstance(default, bool):
            return
        if is_text(name, key):  # what was typed is a text there
            return
        if math.isnan(value) and not isinstance(default, str):
            raise SilentChange(f"{key}=nan was taken without a word")
        whole = isinstance(default, int) and key.rpartition(".")[2] not in REAL
        if whole and (math.isinf(value) or value != int(value)):
            raise SilentChange(f"{key}={value} was taken without a word, and it counts something (default {default})")

    def _odd_word(self, chance: random.Random, name: str) -> tuple[str, str | None, Any]:
        """An override; its key and value where a number is to be looked at."""
        keys = self.keys[name]
        key = chance.choice(list(keys))
        match chance.randrange(12):
            case 0:  # misspelt, added, taken away
                odd = key[:-1] if chance.random() < 0.5 else chance.choice(("", "x", "é", "a..b", "data", "a.b.c.d"))
                return chance.choice(("", "+", "++", "~", "~~")) + f"{odd}={chance.choice(('1', 'x', ''))}", None, None
            case 1:
                group = chance.choice(self.groups)
                choice = chance.choice((*group_options(group), "nope", "null", "", "../x"))
                return f"{group}={choice}", None, None
            case 2 | 3 | 4 | 5 if isinstance(keys[key], int | float):
                value = chance.choice(NUMBERS)
                return f"{key}={text_of(value)}", key, value
            case _:
                value = odd_value(chance)
                return f"{key}={text_of(value)}", key, value

    def _call(self, name: str, words: list[str]) -> None:
        """Runs a command. Returns where it came to its work, or was done; raises what its user sees."""
        module, heavy, given = COMMANDS[name]
        errors = io.StringIO()
        GlobalHydra.instance().clear()
        code: Any = 0
        with (
            contextlib.chdir(self.folder), mock.patch.object(sys, "argv", [f"genie.{name}", *given, *words]),
            mock.patch(heavy, side_effect=INSTEAD.get(name, Reached)), contextlib.redirect_stderr(errors),
            composed_quickly(),
        ):  # fmt: skip
            try:
                importlib.import_module(module).main()
            except Reached:
                return
            except SystemExit as leaving:
                code = leaving.code
        said = errors.getvalue()
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        if "Traceback (most recent call last)" in said or (code and len(lines) != 1) or code not in (None, 0, 1, 2):
            raise RuntimeError(f"exit code {code}: {said[-2500:]}")
        if code:
            raise (UserError if code == 2 else RunError)(lines[0])


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    """All keys of a configuration with their values, groups of keys among them."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key == "hydra":
            continue
        found[key] = value
        if isinstance(value, dict):
            found |= leaves(value, f"{key}.")
    return found


def text_of(value: Any) -> str:
    """A value as somebody would type it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


@contextlib.contextmanager
def composed_quickly() -> Iterator[None]:
    """Reads each file of conf/ once: most of the time of an example."""
    with mock.patch.object(ImportlibResourcesConfigSource, "_read_config", _read):
        yield


_read_now = ImportlibResourcesConfigSource._read_config


def _read(source: ImportlibResourcesConfigSource, file: Any) -> Any:
    return copy.deepcopy(_kept(source.provider, source.path, file))


@functools.cache
def _kept(provider: str, path: str, file: Any) -> Any:
    return _read_now(ImportlibResourcesConfigSource(provider, f"pkg://{path}"), file)
