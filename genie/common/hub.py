"""Worlds on the Hugging Face Hub, under addresses as hf://user/name, hf://user/name@revision and hf://user/name/folder.

They are folders that `python -m genie.export` wrote, and whatever takes a run takes them. Files come into the cache of
huggingface_hub (the extra `hub`), where they are found without a network, too.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from genie.common.errors import UserError, reason
from genie.common.files import read_json

SCHEME = "hf:"
CONTENTS = "config.json"  # of an exported folder: its stages by file
BESIDE = ("evaluation/evaluation.json", "data/*.h5")  # other files of it that are read
STAGE_FILE = re.compile(r"[a-z_]+\.safetensors")
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
ADDRESS = re.compile(
    rf"hf:/{{1,2}}(?:models/(?=[^/]+/[^/]))?(?P<repo>{REPOSITORY.pattern})"
    r"(?:@(?P<revision>refs/pr/\d+|[\w.%+-]+))?(?P<path>(?:/[\w .+=-]+)*)/?"
)
OTHER_KINDS = ("datasets", "spaces", "buckets", "kernels")  # of repositories


@dataclass(frozen=True)
class Address:
    """A folder of a model repository, or with a `path` that ends in .safetensors a file. `revision`: a branch, a tag or
    a commit; None: main. `path`: in the repository, without slashes at its ends."""

    repo: str
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        return f"hf://{self._repo}{'/' * bool(self.path)}{self.path}"

    @property
    def is_file(self) -> bool:
        return self.path.endswith(".safetensors")

    @property
    def place(self) -> PurePosixPath:
        """A relative path of its own on disk."""
        return PurePosixPath(self._repo, self.path)

    @property
    def _repo(self) -> str:
        return self.repo + (f"@{self.revision.replace('/', '%2F')}" if self.revision else "")


def parsed_address(text: str | Path) -> Address | None:
    """The address that a name is, None for a path (`Path` takes one of the two slashes away). UserError for an address
    of anything but a model repository."""
    text = str(text)
    if not text.startswith(SCHEME):
        return None
    found = ADDRESS.fullmatch(text)
    path = found["path"].strip("/") if found else ""
    if found is None or found["repo"].split("/")[0] in OTHER_KINDS or {".", ".."} & {*path.split("/")}:
        raise UserError(
            f"{text} is no address of a model on the Hugging Face Hub: give hf://user/name, hf://user/name@revision, "
            "hf://user/name/folder or the address of a .safetensors file there"
        )
    revision = found["revision"]
    return Address(found["repo"], revision and revision.replace("%2F", "/"), path)


def library() -> Any:
    """The package huggingface_hub. UserError where it is missing."""
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils  # its attributes come one by one
    except ImportError as error:
        raise UserError("the Hugging Face Hub needs its library: pip install 'genie-world[hub]'") from error
    return huggingface_hub


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings and lines for each request, and with bars only where somebody sees them."""
    utils, requests = library().utils, [logging.getLogger(name) for name in ("httpx", "httpx2")]
    verbosity, levels = utils.logging.get_verbosity(), [logger.level for logger in requests]
    seen = "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
    bars = not seen and not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity_error()
    for logger in requests:
        logger.setLevel(logging.WARNING)
    if bars:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(verbosity)
        for logger, level in zip(requests, levels, strict=True):
            logger.setLevel(level)
        if bars:
            utils.enable_progress_bars()


@cache
def downloaded(address: Address) -> Path:
    """The folder or file of an address in the cache, after a download of what is not there yet. A revision that moves
    is looked up once in a process. UserError where there is none, or none of this project."""
    if address.is_file:
        return existing(snapshot(address, [address.path]), address, address.path)
    folder = PurePosixPath(address.path)
    here = snapshot(address, [str(folder / CONTENTS)])
    contents = read_json(existing(here, address, str(folder / CONTENTS))) or {}
    stages = [name for name, about in contents.items() if STAGE_FILE.fullmatch(name) and isinstance(about, dict)]
    if not stages:
        raise UserError(f"{address} is no world of genie-world: its {folder / CONTENTS} names no exported stage")
    patterns = [str(folder / name) for name in (*stages, *BESIDE)]
    return snapshot(address, patterns, commit=here.name) / folder  # the revision may have moved since


def snapshot(address: Address, patterns: list[str], commit: str | None = None) -> Path:
    """The cached snapshot of a repository, whose files that match are in it. UserError for whatever prevents that."""
    revision = commit or address.revision
    try:
        with quiet():
            return Path(library().snapshot_download(address.repo, revision=revision, allow_patterns=patterns))
    except UserError:
        raise
    except Exception as error:  # of the network, the server, the account or the disk: the library raises many kinds
        raise UserError(f"{address}: {problem(error, address)}") from error


def existing(folder: Path, address: Address, name: str) -> Path:
    if not (folder / name).is_file():
        raise UserError(f"{address}: the repository has no {name}, and is no world of genie-world")
    return folder / name


def problem(error: Exception, address: Address) -> str:
    """Why a repository could not be read or written, on one line."""
    hub = library()
    errors, server = hub.errors, hub.constants.ENDPOINT
    account = "log in by `hf auth login`, or set HF_TOKEN" if hub.get_token() is None else "your token gives no access"
    if isinstance(error, errors.GatedRepoError):
        return f"its owner grants access: ask for it on {server}/{address.repo} ({account})"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no such repository on {server}, or it is private ({account})"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {address.revision}"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        cached = f"it is not in the cache {hub.constants.HF_HUB_CACHE}, or not all of it"
        if hub.constants.HF_HUB_OFFLINE:
            return f"{cached}, and HF_HUB_OFFLINE forbids to download it"
        why = error.__cause__ or error.__context__ or error
        return f"{cached}, and {server} cannot be reached ({reason(why)[:160]})"
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return f"{server} refuses access ({account})"
    return f"the transfer from or to {server} failed ({type(error).__name__}: {reason(error)[:200]})"
