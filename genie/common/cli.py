"""Hydra entry points of the commands, with one-line errors instead of tracebacks.

    @hydra_main("train")
    def main(config: dict) -> float | None: ...

    @hydra_main("generate")
    def main(config: GenerateConfig) -> None: ...

A `UserError`, a misspelt key, an unknown choice or a wrong override prints `error: <one line>` on stderr and exits
with code 2; a `RunError` likewise with code 1. Any other exception keeps its traceback (without Hydra's frames, code 1)
unless an override that no schema validates, such as a group of keys that was taken away, may have caused it: then one
line names that override. `debug=trace` or GENIE_TRACE=1 gives full tracebacks. Hydra's own settings are in
conf/command_line.yaml.
A failed job of a sweep reports its error and the others continue; the sweep then exits with code 1.
"""

import argparse
import errno
import functools
import logging
import os
import select
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import IO, Any, NoReturn

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genie.common.config_errors import explain, explain_value, group_options, one_line
from genie.common.errors import EXPLANATIONS, RunError, SilentExit, UserError, reason
from genie.common.overrides import check_given, composed, spelled, unusual_overrides
from genie.common.process import first_here, on_first_rank
from genie.common.program import as_started, import_path, version_line
from genie.common.settings.schema import check_settings, typed
from genie.common.shipped import unpacked


def options(group: str, without: str | None = None) -> str:
    """The choices of a group for a help text, wrapped, without those that begin with `without`."""
    names = [name for name in group_options(group) if without is None or not name.startswith(without)]
    return f"\n{'':14}".join(textwrap.wrap(" | ".join(names), width=100, break_on_hyphens=False))


OmegaConf.register_new_resolver("options", options, replace=True)


@dataclass(frozen=True)
class JobFailed:
    """The result of a failed job of a sweep: an exception would make Hydra end the sweep."""

    message: str


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # need no traceback
# of the composition of a configuration
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, AssertionError)
MISUSED = (TypeError, AttributeError, LookupError, ArithmeticError, ValueError)  # raised by values of a wrong type
NOISE = r".*Mismatch dtype between input and weight.*"  # PyTorch, of norms in bf16: slower than it could be, not wrong
FAILED: list[JobFailed] = []  # jobs of this command, in whichever process they ran


def hydra_main(config_name: str, resolve: bool = True) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Turns a function of the configuration conf/<config_name>.yaml into a command.

    The function gets the resolved configuration (`schema.typed`), with `resolve=False` the `DictConfig`. Its return
    value is the objective of a sweep (`--multirun`). Overrides may be typed without Hydra's quotes (`overrides`).
    """

    def decorate(function: Callable[[Any], Any]) -> Callable[[], None]:
        @functools.wraps(function)
        def task(cfg: DictConfig) -> Any:
            try:
                with on_first_rank():
                    check_given(HydraConfig.get().overrides.task)
                    check_settings(cfg, config_name)
                    config = typed(config_name, unpacked(to_plain(cfg))) if resolve else cfg
                with output_may_end():
                    return function(config)
            except Exception as error:
                if wants_trace():
                    raise
                line, code = _report(error)
            if not in_sweep():
                sys.exit(code)
            FAILED.append(JobFailed(line))
            return FAILED[-1]

        command = hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(task)

        @functools.wraps(function)
        @output_may_end()  # once more: the lines printed below may find no reader, too
        def main() -> None:
            FAILED.clear()
            logging.raiseExceptions = False  # `output_may_end` handles a log without a reader
            if wrong := import_path():
                fail(wrong)
            asks_help = _flags().help
            sys.argv[1:] = spelled(sys.argv[1:], config_name, sweep=None)
            warnings.filterwarnings("ignore", message=NOISE)
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them and exiting
            try:
                with output_may_end():
                    _print_help(command) if asks_help else command()
            except RunError as error:
                print(f"error: {as_started(one_line(error))}", file=sys.stderr)
                sys.exit(1)
            except COMPOSITION_ERRORS as error:  # the command's own errors end in `task`
                if wants_trace() and "Could not override 'debug'" not in str(error):  # a command without debug=trace
                    raise
                fail(explain(error, config_name))
            except KeyboardInterrupt:
                if wants_trace():
                    raise
                print("interrupted", file=sys.stderr)
                sys.exit(130)
            if FAILED:
                sys.exit(1)

        return main

    return decorate


def _flags() -> argparse.Namespace:
    """Hydra's flags of the command line. An unknown one is one line, and `--version` is that of this package."""
    parser = get_args_parser()
    parser.error = lambda message: fail(f"{message}; --help has the keys of the command, --hydra-help the flags")
    if "--version" in sys.argv[1:]:
        print(version_line())
        sys.exit(0)
    return parser.parse_args()


def _print_help(command: Callable[[], None]) -> None:
    """Hydra's help, with commands named as this one was started."""
    try:
        with redirect_stdout(StringIO()) as text:
            command()
    finally:
        print(as_started(text.getvalue()), end="")


def _report(error: Exception) -> tuple[str, int]:
    """Prints the line (or the traceback) for an exception of a command; returns the line and the exit code."""
    line, code = one_line(error), 1
    if isinstance(error, UserError | OmegaConfBaseException):
        line, code = explain_value(error) if isinstance(error, OmegaConfBaseException) else line, 2
        if isinstance(error, SilentExit):
            return line, code
    elif not isinstance(error, RunError):
        line = one_line(f"{type(error).__name__}: {error}")
        if known := _known_cause(error):
            line = known
        elif isinstance(error, MISUSED) and (unusual := unusual_overrides(HydraConfig.get())):
            line = f"{line}: perhaps because of {', '.join(unusual)}; GENIE_TRACE=1 shows where"
        else:
            traceback.print_exception(error.with_traceback(error.__traceback__.tb_next))
            return line, code
    line = as_started(line)
    print(f"error: {line}", file=sys.stderr)
    return line, code


def _known_cause(error: Exception) -> str | None:
    """The message for a killed worker of a data loader or for exhausted memory. Imports torch only where needed."""
    for explanation in EXPLANATIONS:
        if line := explanation(error):
            return line
    if not isinstance(error, MemoryError | OSError) and "torch" not in sys.modules:
        return None
    from genie.common.device import is_out_of_memory

    if not is_out_of_memory(error):
        return None
    return f"out of memory: take smaller frames, fewer of them or a smaller model ({one_line(error)[:200]})"


@contextmanager
def output_may_end() -> Iterator[None]:
    """Around a command: where nothing reads its output any more (`| head`), it ends silently with the exit code of a
    process that SIGPIPE killed, as other programs do. A disk error becomes a `RunError`."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # None: a service that was started without one
                sys.stdout.flush()  # otherwise the rest fails when Python exits
    except OSError as error:
        unread = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
        if not unread and error.errno not in DISK_ERRORS:
            raise  # such as another pipe, to a process that the command has started
        if not unread:
            raise RunError(reason(error)) from error
        for stream in unread:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _has_no_reader(stream: IO) -> bool:
    """Whether a stream of this process is a pipe whose reader is gone."""
    try:
        stream.flush()
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError, AttributeError):  # no file, or closed; or a system without `poll`
        return False


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as dicts, lists and scalars, every `${...}` resolved. Raises OmegaConf's errors."""
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def resolved(config_name: str, overrides: Sequence[str] = ()) -> Any:
    """The configuration of a command as the command gets it: `composed`, resolved and `schema.typed`. Raises UserError,
    and the errors of Hydra and OmegaConf."""
    return typed(config_name, to_plain(composed(config_name, overrides)))


def in_sweep() -> bool:
    """Whether the command runs as a job of a sweep (`--multirun`)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def wants_trace() -> bool:
    """Whether the user asked for full tracebacks; works before a configuration exists."""
    return os.environ.get("GENIE_TRACE", "") not in ("", "0") or "debug=trace" in sys.argv[1:]


def fail(message: str) -> NoReturn:
    """Prints `error: <message>` on stderr and exits with code 2, as for every mistake of the user."""
    if first_here():
        print(f"error: {as_started(message)}", file=sys.stderr)
    sys.exit(2)
