"""Hydra entry points whose errors are one line.

What every command shares: Hydra's main, and errors of one line instead of tracebacks.

    @hydra_main("train")
    def main(config: dict) -> float | None: ...

A `UserError`, a misspelt key, an unknown choice, a wrong override: `error: <one line>` on stderr, exit code
2; a `RunError` likewise with exit code 1. Any other error inside the command keeps its traceback (without Hydra's
frames), exit code 1; where a value was given that no check can judge, such as null for a number, it is one line that
names it. `debug=trace` or GENIE_TRACE=1 gives the full traceback of everything. Hydra's own settings are in
conf/command_line.yaml.
A job of a sweep that goes wrong says so and lets the others go on; the exit code is then 1 in the end.
"""

import errno
import functools
import logging
import os
import select
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genie.common.config_errors import explain, explain_value, group_options, one_line
from genie.common.config_types import check_overrides, unusual_overrides
from genie.common.config_values import check_values
from genie.common.errors import RunError, SilentExit, UserError, reason
from genie.common.overrides import spelled
from genie.common.process import first_here, on_first_rank


def options(group: str, without: str | None = None) -> str:
    """The choices of a group for a help text, but for those that begin with `without`; many take several lines."""
    names = [name for name in group_options(group) if without is None or not name.startswith(without)]
    return f"\n{'':14}".join(textwrap.wrap(" | ".join(names), width=100, break_on_hyphens=False))


OmegaConf.register_new_resolver("options", options, replace=True)


@dataclass(frozen=True)
class JobFailed:
    """What a job of a sweep returns instead of a value. Hydra would end the sweep for an exception."""

    message: str


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # say all that there is to say
MISUSED = (TypeError, AttributeError, LookupError, ArithmeticError, ValueError)  # what a value of a wrong kind raises
FAILED: list[JobFailed] = []  # of this command, wherever they ran


def hydra_main(config_name: str, resolve: bool = True) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Makes a function of the configuration conf/<config_name>.yaml a command.

    The function gets the resolved configuration as plain containers; with `resolve=False` the `DictConfig`.
    What it returns is what a sweep (`--multirun`) optimises. Values may be as people type them (`overrides`).
    """

    def decorate(function: Callable[[Any], Any]) -> Callable[[], None]:
        @functools.wraps(function)
        def task(cfg: DictConfig) -> Any:
            try:
                with on_first_rank():
                    check_overrides(cfg, HydraConfig.get())
                    check_values(cfg)
                    config = to_plain(cfg) if resolve else cfg
                with output_may_end():
                    return function(config)
            except (UserError, OmegaConfBaseException) as error:
                if wants_trace():
                    raise
                line, code = explain_value(error) if isinstance(error, OmegaConfBaseException) else one_line(error), 2
                if not isinstance(error, SilentExit):
                    print(f"error: {line}", file=sys.stderr)
            except RunError as error:
                if wants_trace():
                    raise
                line, code = one_line(error), 1
                print(f"error: {line}", file=sys.stderr)
            except Exception as error:
                if wants_trace():
                    raise
                line, code = one_line(f"{type(error).__name__}: {error}"), 1
                unusual = unusual_overrides(HydraConfig.get()) if isinstance(error, MISUSED) else []
                if lost := lost_reader(error) or no_memory(error):
                    line = lost
                    print(f"error: {line}", file=sys.stderr)
                elif unusual:
                    line = f"{line}: perhaps because of {', '.join(unusual)}; GENIE_TRACE=1 shows where"
                    print(f"error: {line}", file=sys.stderr)
                else:
                    traceback.print_exception(error.with_traceback(error.__traceback__.tb_next))
            if not in_sweep():
                sys.exit(code)
            FAILED.append(JobFailed(line))
            return FAILED[-1]

        command = hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(task)

        def run() -> None:
            FAILED.clear()
            logging.raiseExceptions = (
                False  # a log whose reader has left is said by `output_may_end`, not with a traceback
            )
            sys.argv[1:] = spelled(sys.argv[1:], config_name, sweep=None)
            # Hydra then raises what went wrong instead of printing it and leaving.
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")
            try:
                with output_may_end():
                    command()
            except RunError as error:
                print(f"error: {one_line(error)}", file=sys.stderr)
                sys.exit(1)
            except (
                HydraException,
                OmegaConfBaseException,
                yaml.YAMLError,
                ValueError,
                TypeError,
                AssertionError,
            ) as error:
                # Only the composition raises these here: the command's own errors end in `task`.
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

        @functools.wraps(function)
        def main() -> None:
            with output_may_end():  # around `run`: what it prints last may find no reader, too
                run()

        return main

    return decorate


@contextmanager
def output_may_end() -> Iterator[None]:
    """Around a command: where nobody reads its output any more, as behind `| head`, it ends without a word and with
    the exit code of a process that SIGPIPE killed, as other programs do. What a disk refuses becomes a `RunError`."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # None: a service that was started without one
                sys.stdout.flush()  # what is left would fail when Python ends
    except OSError as error:
        unread = [stream for stream in (sys.stdout, sys.stderr) if has_no_reader(stream)]
        if not unread and error.errno not in DISK_ERRORS:
            raise  # such as another pipe, to a process which the command has started
        if not unread:
            raise RunError(reason(error)) from error
        for stream in unread:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(128 + signal.SIGPIPE)


def has_no_reader(stream: IO) -> bool:
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


def no_memory(error: Exception) -> str | None:
    """What to say of an error that says that there is no memory; without torch where it cannot be one."""
    if not isinstance(error, MemoryError | OSError) and "torch" not in sys.modules:
        return None
    from genie.common.device import is_out_of_memory

    if not is_out_of_memory(error):
        return None
    return f"out of memory: take smaller frames, fewer of them or a smaller model ({one_line(error)[:200]})"


def lost_reader(error: Exception) -> str | None:
    """`lost_worker` of an error; without torch where it cannot be one."""
    if "DataLoader worker" not in str(error):
        return None
    from data_modules.worker_loader import lost_worker

    return lost_worker(error)


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as dicts, lists and scalars, every `${...}` resolved. Raises OmegaConf's errors."""
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def in_sweep() -> bool:
    """Whether the command runs as a job of a sweep (`--multirun`)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def wants_trace() -> bool:
    """Whether the user asked for full tracebacks: also before a configuration exists."""
    return os.environ.get("GENIE_TRACE", "") not in ("", "0") or "debug=trace" in sys.argv[1:]


def fail(message: str) -> NoReturn:
    """`error: <message>` on stderr, exit code 2: a mistake of the user."""
    if first_here():
        print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
