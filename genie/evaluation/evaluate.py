"""Evaluation of trained runs: the command `genie.evaluate`, from its configuration to <run>/evaluation/.

Settings are checked and every run is opened before any work. Then each part is measured: one that fails is reported,
and the others are measured all the same.
"""

import difflib
import json
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_modules.held_out_clips import held_out
from genie.common.cli import wants_trace
from genie.common.device import choose_device, inference
from genie.common.errors import UserError, failure
from genie.common.files import plain, replacing, to_json
from genie.common.folder_lock import one_writer
from genie.common.profiling import measured
from genie.common.settings.evaluation import EvaluateConfig
from genie.evaluation.imagination import ImaginedClips
from genie.evaluation.latent_actions import true_names
from genie.evaluation.part import NEEDS, Evaluation
from genie.evaluation.parts import PARTS
from genie.evaluation.provenance import provenance, still_holds
from genie.evaluation.trained_run import LeftOut, TrainedRun

PARTIAL = "evaluation.partial.json"  # the metrics of the finished parts, while others are being measured


@dataclass(frozen=True)
class Evaluated:
    """`values` of an evaluation.json in `folder`, of the run with the folder `run`, which is labelled `name`."""

    name: str
    run: Path
    folder: Path
    values: dict[str, Any]


def evaluate_runs(config: EvaluateConfig) -> list[Evaluated]:
    """Evaluates `run`, one folder or several, in this order; with `reuse`, only those that are out of date.

    Raises UserError for an invalid value and for a run without a trained world, before any work.
    """
    given = config.run
    names = labels([str(run) for run in given] if isinstance(given, list) else [str(given)])
    configs = {name: config.changed(run=path) for name, path in names.items()}
    for one in configs.values():
        check_parts(one)
    runs = {name: open_run(path, config) for name, path in names.items()}
    if config.output is not None and len(names) > 1:
        for name, one in configs.items():
            configs[name] = one.changed(output=str(Path(config.output) / name.replace("/", "_")))
    with ExitStack() as writing:
        for folder in dict.fromkeys(map(output_folder, configs.values())):
            writing.enter_context(one_writer(folder, "output="))
        evaluated = []
        for name, one in configs.items():
            run, known = runs.pop(name), output_folder(one) / "evaluation.json"  # popped: its models are freed
            if config.reuse and still_holds(known, one):
                print(f"{one.run}: taken from {known}")
                values = json.loads(known.read_text())
            else:
                if len(names) > 1:
                    print(one.run)
                values = evaluate_run(run, one)
            evaluated.append(Evaluated(name, Path(one.run), known.parent, values))
    return evaluated


def check_parts(config: EvaluateConfig) -> None:
    """Raises UserError for a part that does not exist and for the first invalid value of any part."""
    names = [part.name for part in PARTS]
    for name in config.parts:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}? There" if near else "there"
            raise UserError(f"parts=[{','.join(config.parts)}]: there is no part {name}; {hint} is: {', '.join(names)}")
    for part in PARTS:
        part.check(config)


def open_run(path: str, config: EvaluateConfig) -> TrainedRun:
    """The run in a folder. Raises UserError where it holds no trained world."""
    return TrainedRun(path, choose_device(config.device), config, config.world)


def output_folder(config: EvaluateConfig) -> Path:
    """The folder of one run's evaluation.json."""
    return Path(config.output or Path(config.run) / "evaluation")


def evaluate_run(run: TrainedRun, config: EvaluateConfig) -> dict[str, Any]:
    """Measures an opened run; writes and returns the contents of evaluation.json."""
    prompt, length = config.prompt_frames, config.prompt_frames + config.horizon
    clips = seen = held_out(config, run.data_config, config.num_clips, length)
    if run.world_data_config != run.data_config:
        seen = held_out(config, run.world_data_config, config.num_clips, length)
    folder = output_folder(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into output={folder} ({error.strerror})") from error
    imagined = ImaginedClips(run, seen, prompt, config.seed)
    with inference(run.device) as precision:
        figures = measure(Evaluation(config, run, clips, imagined, folder))
    report = plain(
        {
            "run": str(run.run),
            "checkpoints": {stage: found["steps"] for stage, found in run.contents.items()},
            "world": run.kind,
            "split": config.split,
            "clips": len(clips),
            "frames": len(clips) * length,
            "prompt_frames": prompt,
            "horizon": config.horizon,
            "sampler": run.sampler,
            "seed": config.seed,
            "device": str(run.device),
            "precision": precision,
            "true_actions": true_names(clips),
            "provenance": provenance(config),
            **figures,
        }
    )
    with replacing(folder / "evaluation.json", "w") as file:
        file.write(to_json(report))
    (folder / PARTIAL).unlink(missing_ok=True)
    return report


def measure(evaluation: Evaluation) -> dict[str, Any]:
    """The metrics of the parts in the key `parts`, by their groups; under `cost` the cost of each part, `left_out` the
    reasons for missing metrics, `failed` those for parts that ended in an error. Keeps finished parts in `PARTIAL`."""
    figures = evaluation.figures
    costs: dict[str, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    chosen = [part for part in PARTS if part.name in evaluation.config.parts]
    for number, part in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {part.name}: ", end="", flush=True)
        try:
            with measured() as cost:
                for need in part.needs:
                    NEEDS[need](evaluation)
                found = part.measure(evaluation)
        except LeftOut as reason:
            left_out[part.name] = str(reason)
            print(f"left out: {reason}", flush=True)
            continue
        except Exception as error:  # of one part: the metrics of the others are not lost
            if wants_trace():
                raise
            failed[part.name] = failure(error)
            print(f"not measured: {failed[part.name]}", flush=True)
            continue
        costs[part.name] = {**asdict(cost), **found.pop("cost", {})}
        left_out |= found.pop("left_out", {})
        for name, values in found.items():
            figures[name] = figures.get(name, {}) | values
        print(f"{cost.seconds:.0f} s", flush=True)
        with replacing(evaluation.folder / PARTIAL, "w") as file:
            file.write(to_json(plain({**figures, "cost": costs, "left_out": left_out, "failed": failed})))
    for part in chosen:
        if part.name in costs:
            left_out |= {path: why for path, why in part.optional.items() if not _holds(figures, path)}
    return {**figures, "cost": costs, "left_out": left_out, "failed": failed}


def _holds(figures: dict[str, Any], path: str) -> bool:
    group, _, name = path.partition(".")
    return group in figures and (not name or name in figures[group])


def report_folder(config: EvaluateConfig, evaluated: list[Evaluated]) -> Path:
    """The folder of the report: that of evaluation.json, or of a comparison one of its own."""
    if len(evaluated) == 1:
        return evaluated[0].folder
    return Path(config.output or evaluated[0].run.parent / "comparison")


def labels(runs: list[str]) -> dict[str, str]:
    """The paths by the shortest ends by which they differ. Raises UserError for no path and for one given twice."""
    paths = [Path(os.path.abspath(run)).parts for run in runs]
    if not runs or len(set(paths)) < len(paths):
        raise UserError(f"run=[{','.join(runs)}]: give one folder outputs/<name>, or several that differ")
    for length in range(1, max(map(len, paths)) + 1):
        ends = ["/".join(parts[-length:]) for parts in paths]
        if len(set(ends)) == len(ends):
            return dict(zip(ends, runs, strict=True))
    raise AssertionError("paths that differ have ends that differ")
