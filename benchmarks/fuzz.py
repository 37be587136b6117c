"""Tries damaged and odd inputs by the ten thousand: `python -m benchmarks.fuzz minutes=30`.

Episode files, data of other formats, values of configurations, prompts, messages to the play server and checkpoints,
each changed by chance (`tests/fuzz/`). All have to end in a result or in one line; what else happened is counted and
listed, with the seed that tries it again. About 20,000 inputs in 30 minutes on one core.

    python -m benchmarks.fuzz minutes=30 kinds=[episodes,prompts] seed=1 output=fuzz.json
    python -m benchmarks.fuzz kind=prompts seed=123             tries one again, and says what was done to the input

`seed`: of the first input; drawn where it is not given. It is of one process, which is started again where it is killed
by what it reads, or hangs. The exit code is 1 where something failed.
"""

import json
import multiprocessing
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from benchmarks.arguments import arguments, started
from genie.common.settings.kinds import Place, Positive, Seed, Settings, Some
from genie.common.tables import print_table
from tests.fuzz.harness import ENDS, FAULTS, Kind, Outcome, outcome

# kind: (module, class, how often it comes in a round): what takes longest comes least
KINDS = {
    "episodes": ("episodes", "Episodes", 3),
    "own_data": ("own_data", "OwnData", 2),
    "prompts": ("prompts", "Prompts", 3),
    "checkpoints": ("checkpoints", "Checkpoints", 2),
    "messages": ("messages", "Messages", 2),
    "config": ("config_values", "ConfigValues", 1),
}
KindName = Literal[tuple(KINDS)]


class Arguments(Settings):
    minutes: Positive = 1
    kinds: Some[KindName] = list(KINDS)
    kind: KindName | None = None
    seed: Seed | None = None
    output: Place | None = None


KILLED = "killed"  # beside `ENDS`: the process was, by what it read
LIMIT = 10  # seconds of one input: the slowest takes two
MEMORY = 6 * 2**30  # bytes that an input may make the process take
START = 120  # seconds in which a process has made its good inputs
EVERY = 30  # seconds from one line of progress to the next
SHOWN = 3  # seeds of one fault


def build(kind: str, folder: Path) -> Kind:
    """A kind of input, with its good inputs in a folder."""
    from importlib import import_module

    module, name, _ = KINDS[kind]
    return getattr(import_module(f"tests.fuzz.{module}"), name)(folder / kind)


def chance(kind: str, seed: int) -> random.Random:
    """All that is left to chance in an example."""
    return random.Random(f"{kind} {seed}")


def worker(connection: Connection, kinds: list[str], seed: int) -> None:
    """Tries one input after the other, from a seed on, and tells of each before and after it."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
    rounds = [kind for kind in kinds for _ in range(KINDS[kind][2])]
    with tempfile.TemporaryDirectory() as folder:
        built = {kind: build(kind, Path(folder)) for kind in kinds}
        while True:
            kind = rounds[seed % len(rounds)]
            connection.send((kind, seed))
            connection.send(outcome(built[kind], chance(kind, seed), LIMIT))
            seed += 1


class Counts:
    """What became of the inputs."""

    def __init__(self) -> None:
        self.ends: dict[str, Counter[str]] = defaultdict(Counter)
        self.faults: dict[tuple[str, str, str], list[int]] = defaultdict(list)  # (kind, end, what): seeds
        self.examples: dict[tuple[str, str, str], Outcome] = {}

    def add(self, kind: str, seed: int, result: Outcome) -> None:
        self.ends[kind][result.end] += 1
        if result.end in (*FAULTS, KILLED):
            what = re.sub(r"\d+", "#", (result.detail.strip().splitlines() or [""])[-1])[:120]
            self.faults[kind, result.end, what].append(seed)
            self.examples.setdefault((kind, result.end, what), result)

    def total(self, *ends: str) -> int:
        return sum(count for counter in self.ends.values() for end, count in counter.items() if end in ends)

    def table(self) -> Table:
        table = Table("inputs", "tried", "results", "one line", "tracebacks", "hangs", "silent changes", KILLED)
        rows = {kind: self.ends[kind] for kind in KINDS if kind in self.ends}
        for name, counter in (rows | {"all": sum(rows.values(), Counter())}).items():
            table.add_row(name, *(f"{count:,}" for count in (counter.total(), *(counter[e] for e in (*ENDS, KILLED)))))
        return table

    def as_json(self, seconds: float) -> dict[str, Any]:
        faults = [
            {"kind": kind, "end": end, "what": what, "seeds": seeds, "first": str(self.examples[kind, end, what])}
            for (kind, end, what), seeds in self.faults.items()
        ]
        return {
            "seconds": round(seconds),
            "ends": {kind: dict(ends) for kind, ends in self.ends.items()},
            "faults": faults,
        }


def fuzz(kinds: list[str], seconds: float, seed: int) -> Counts:
    """Tries inputs for so long."""
    counts, started = Counts(), time.monotonic()
    spoken = started
    context = multiprocessing.get_context("spawn")
    while time.monotonic() - started < seconds:
        ours, theirs = context.Pipe()
        process = context.Process(target=worker, args=(theirs, kinds, seed))  # videos are looked at in its children
        process.start()
        theirs.close()
        trying: tuple[str, int] | None = None
        try:
            while time.monotonic() - started < seconds:
                if not ours.poll(3 * LIMIT if trying else START):
                    end = "hang"
                    break
                message = ours.recv()
                if isinstance(message, Outcome):
                    counts.add(*trying, message)
                    seed = trying[1] + 1
                else:
                    trying = message
                if time.monotonic() - spoken > EVERY:
                    spoken = time.monotonic()
                    faults = counts.total(*FAULTS, KILLED)
                    print(
                        f"{spoken - started:5.0f} s: {counts.total(*ENDS, KILLED):,} inputs, {faults} faults",
                        flush=True,
                    )
            else:
                return counts
        except EOFError:
            end = KILLED
        finally:
            process.kill()
            process.join()
            ours.close()
        if trying is None:
            sys.exit("the good inputs could not be made")
        counts.add(*trying, Outcome(end, f"{end} without a word, exit code {process.exitcode}"))
        seed = trying[1] + 1
    return counts


def again(kind: str, seed: int) -> bool:
    """Tries one input again; whether it failed."""
    with tempfile.TemporaryDirectory() as folder:
        built = build(kind, Path(folder))
        result = outcome(built, chance(kind, seed), LIMIT)
        built.close()
    print(result)
    return result.fault


def main() -> None:
    given, _ = arguments(Arguments)
    seed = random.SystemRandom().randrange(10**9) if given.seed is None else given.seed
    if given.kind is not None:
        sys.exit(again(given.kind, seed))
    print(f"seeds from {seed}", flush=True)
    started = time.monotonic()
    counts = fuzz(given.kinds, 60 * given.minutes, seed)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = spent.ru_utime + spent.ru_stime
    print(f"{counts.total(*ENDS, KILLED):,} inputs in {time.monotonic() - started:.0f} s, {cpu:.0f} s of the CPU")
    for (kind, end, what), seeds in sorted(counts.faults.items(), key=lambda fault: -len(fault[1])):
        print(f"{len(seeds)} x {kind}, {end}: {what}")
        print(f"    python -m benchmarks.fuzz kind={kind} seed={' | '.join(map(str, seeds[:SHOWN]))}")
    print_table(counts.table())
    if given.output is not None:
        Path(given.output).write_text(json.dumps(counts.as_json(time.monotonic() - started), indent=2))
    sys.exit(bool(counts.faults))


if __name__ == "__main__":
    started(main)
