"""Evaluation of runs.

The parts of an evaluation that are about a world of any kind, as the configuration `evaluate` wants them.

One evaluation: from a resolved configuration to outputs/<name>/evaluation/. The command is `genie/evaluate.py`.

One evaluation, or several that are compared: what `run=` and `reuse=` of the command mean.
"""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genie.common.cli import wants_trace
from genie.common.config_types import require_number, require_whole
from genie.common.device import choose_device, inference
from genie.common.errors import UserError, failure
from genie.common.files import plain, replacing, to_json
from genie.common.folder_lock import one_writer
from genie.common.profiling import measured
from genie.evaluation.action_grid import GridSettings, draw_action_grid
from genie.evaluation.attention import MODELS, AttentionSettings, draw_attention
from genie.evaluation.clips import Clips, held_out
from genie.evaluation.environment_replay import evaluate_simulator
from genie.evaluation.fvd import BASELINES, evaluate_distances, load_features
from genie.evaluation.imagination import (
    ImaginedClips,
    RewardSettings,
    SideSettings,
    draw_side_by_side,
    evaluate_prediction,
    evaluate_reward,
    require_rewards,
)
from genie.evaluation.imagination_cost import ImaginationSettings, evaluate_imagination
from genie.evaluation.latent_actions import evaluate_lam, latent_labels, true_names
from genie.evaluation.long_rollout import LongSettings, evaluate_long_rollout
from genie.evaluation.provenance import provenance, still_holds
from genie.evaluation.rollout import RolloutSettings, evaluate_rollout
from genie.evaluation.tokenizer import evaluate_objects, evaluate_tokenizer
from genie.evaluation.tokens import evaluate_tokens
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.metrics.i3d import MIN_FRAMES
from genie.metrics.video_features import RESIZES
from genie.world.sampler import Sampler
from genie.world.sampler_choice import with_overrides

WORLD_PARTS = ("prediction", "reward", "imagination", "side_by_side", "long_rollout", "planning")


def world_parts(
    config: dict[str, Any], foresight: ImaginedClips, folder: Path
) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each of `WORLD_PARTS`: its figures under their name in evaluation.json."""

    def planning() -> dict[str, Any]:
        from genie.evaluation.planning import evaluate_planning

        return {"planning": evaluate_planning(config, foresight.subject, folder)}

    return {
        "prediction": lambda: {"prediction": evaluate_prediction(foresight, folder)},
        "reward": lambda: {"reward": measure_rewards(config, foresight)},
        "imagination": lambda: {"imagination": measure_imagination(config, foresight, folder)},
        "side_by_side": lambda: draw_sides(config, foresight, folder),
        "long_rollout": lambda: evaluate_long_rollout(
            config, LongSettings(**config["long_rollout"]), foresight, folder
        ),
        "planning": planning,
    }


def check_world_parts(config: dict[str, Any]) -> None:
    """Raises UserError for the first value that cannot be."""
    require_whole(config["reward"], "clips", prefix="reward.")
    require_number({"reward.discount": config["reward"]["discount"]}, "reward.discount", above=0, most=1)
    require_whole(config["side_by_side"], "clips", "horizon", prefix="side_by_side.")
    group = config["long_rollout"]
    require_whole(group, "frames", "worlds", prefix="long_rollout.", null=False)
    if not isinstance(group["hold"], int | float) or isinstance(group["hold"], bool) or not group["hold"] >= 1:
        raise UserError(
            f"long_rollout.hold={group['hold']} must be a number of at least 1: frames that an action is held"
        )
    for start in group["fvd"]:
        require_whole({"fvd": start}, "fvd", least=0, prefix="long_rollout.", null=False)
    group = config["imagination"]
    require_whole(group, "branches", "horizon", prefix="imagination.")
    if not group["batches"]:
        raise UserError("imagination.batches=[]: give the branches at a time, such as [8,32]")
    for name in ("batches", "horizons"):
        for value in group[name]:
            require_whole({name: value}, name, prefix="imagination.")
    if "planning" in config["parts"]:
        from genie.evaluation.planning import check_planning  # it plays environments, which takes more to import

        check_planning(config)


def measure_rewards(config: dict[str, Any], foresight: ImaginedClips) -> dict[str, Any]:
    """Rewards and ends, on clips as long as those of the training, which reach the ends of their episodes."""
    require_rewards(foresight.world)
    settings, data = RewardSettings(**config["reward"]), foresight.subject.world_data_config
    try:
        clips = held_out(config, data, settings.clips, data["num_frames"], tails=True)
    except UserError as error:
        raise LeftOut(str(error)) from error
    return evaluate_reward(foresight, clips, settings)


def measure_imagination(config: dict[str, Any], foresight: ImaginedClips, folder: Path) -> dict[str, Any]:
    """What branches from the first clip cost."""
    group = config["imagination"]
    settings = ImaginationSettings(
        group["branches"], group["horizon"], tuple(group["batches"]), tuple(group["horizons"])
    )
    given = foresight.clips.sample(1).observations[:, : foresight.prompt]
    return evaluate_imagination(foresight.world, given, settings, folder)


def draw_sides(config: dict[str, Any], foresight: ImaginedClips, folder: Path) -> dict[str, Any]:
    """Imagined beside real, on longer clips where the data hold such; no figures."""
    group, prompt, clips = config["side_by_side"], foresight.prompt, foresight.clips
    settings = SideSettings(group["clips"], prompt, config["fps"], config["seed"])
    with suppress(UserError):  # no episode is so long: those of the figures
        clips = held_out(config, foresight.subject.world_data_config, group["clips"], prompt + group["horizon"])
    draw_side_by_side(foresight.world, clips, settings, folder)
    return {}


GENIE_PARTS = ("tokenizer", "objects", "lam", "tokens", "rollout", "simulator", "fvd", "action_grid", "attention")
PARTS = (*GENIE_PARTS, *WORLD_PARTS)
PARTIAL = "evaluation.partial.json"  # the figures of the parts that are done, while others are being measured


def evaluate(config: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """Measures a run as the configuration `evaluate` says; returns what evaluation.json holds, and its folder.

    A part that fails is under `failed` with its reason, and the others are measured. What is done is kept in
    evaluation.partial.json until evaluation.json is written. Raises UserError for a value that cannot be, before any
    work.
    """
    check(config)
    device = choose_device(config["device"])
    subject = TrainedRun(config["run"], device, config, config["world"])
    length = config["prompt_frames"] + config["horizon"]
    clips = held_out(config, subject.data_config, config["num_clips"], length)
    seen = clips
    if subject.world_data_config != subject.data_config:
        seen = held_out(config, subject.world_data_config, config["num_clips"], length)
    foresight = ImaginedClips(subject, seen, config["prompt_frames"], config["seed"])
    folder = Path(config["output"] or subject.run / "evaluation")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into output={folder} ({error.strerror})") from error
    with inference(device) as precision:
        figures = measure(config, subject, clips, foresight, folder)
    report = plain(
        {
            "run": str(subject.run),
            "checkpoints": {stage: found["steps"] for stage, found in subject.contents.items()},
            "world": subject.kind,
            "split": config["split"],
            "clips": len(clips),
            "frames": len(clips) * length,
            "prompt_frames": config["prompt_frames"],
            "horizon": config["horizon"],
            "sampler": subject.sampler,
            "seed": config["seed"],
            "device": str(device),
            "precision": precision,
            "true_actions": true_names(clips),
            "provenance": provenance(config),
            **figures,
        }
    )
    with replacing(folder / "evaluation.json", "w") as file:
        file.write(to_json(report))
    (folder / PARTIAL).unlink(missing_ok=True)
    return report, folder


def check(config: dict[str, Any]) -> None:
    """Raises UserError for the first value that cannot be."""
    require_whole(config, "num_clips", "horizon", "prompt_frames", "batch_size")
    require_whole(config, "seed", least=0)
    require_whole(config["delta_psnr"], "seeds", prefix="delta_psnr.")
    require_whole(config["grid"], "frames", "prompts", prefix="grid.")
    require_whole(config["fvd"], "videos", least=2, prefix="fvd.")
    require_whole(config["fvd"], "frames", least=MIN_FRAMES, prefix="fvd.")
    require_number(config, "fps", above=0, most=1000)
    with_overrides(Sampler(), config)
    AttentionSettings(**config["attention"])
    if config["split"] not in ("val", "test"):
        raise UserError(f"split={config['split']}: choose val or test, which no stage was trained on")
    for part in config["parts"]:
        if part not in PARTS:
            raise UserError(f"parts={config['parts']}: there is no part {part}; there is: {', '.join(PARTS)}")
    if config["fvd"]["resize"] not in RESIZES:
        raise UserError(f"fvd.resize={config['fvd']['resize']}: choose one of {', '.join(RESIZES)}")
    for name in config["fvd"]["baselines"]:
        if name not in BASELINES:
            raise UserError(f"fvd.baselines: there is no {name}; there is: {', '.join(BASELINES)}")
    for t in config["delta_psnr"]["t"]:
        if not isinstance(t, int) or not 1 <= t <= config["horizon"]:
            raise UserError(f"delta_psnr.t={config['delta_psnr']['t']}: {t} is not in 1 … horizon={config['horizon']}")
    check_world_parts(config)


def measure(
    config: dict[str, Any], subject: TrainedRun, clips: Clips, foresight: ImaginedClips, folder: Path
) -> dict[str, Any]:
    """The figures of the parts asked for, by name: of Genie's stages on `clips`, of the chosen world on those of
    `foresight`; under `cost` what each of these took, under `left_out` why others are not there, and under
    `failed` what went wrong in those that ended in an error. Each is kept in `PARTIAL` when it is done."""
    figures: dict[str, Any] = {}
    costs: dict[str, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    settings = rollout_settings(config)
    parts = {
        "tokenizer": lambda: {"tokenizer": evaluate_tokenizer(subject.tokenizer, clips, folder, config["fps"])},
        "objects": lambda: {"objects": evaluate_objects(subject.tokenizer, clips)},
        "lam": lambda: {"lam": evaluate_lam(subject.lam, clips, folder, config["fps"])},
        "tokens": lambda: {"tokens": evaluate_tokens(subject, clips)},
        "rollout": lambda: evaluate_rollout(subject, clips, settings, folder),
        "simulator": lambda: {"delta_psnr": evaluate_simulator(subject, clips, config["split"], settings)},
        "fvd": lambda: {"fvd": measure_distances(config, subject)},
        "action_grid": lambda: draw_grid(config, subject, clips, figures, folder),
        "attention": lambda: draw_maps(config, subject, clips, folder),
        **world_parts(config, foresight, folder),
    }
    chosen = [part for part in PARTS if part in config["parts"]]
    for number, part in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {part}: ", end="", flush=True)
        try:
            if part in GENIE_PARTS and not subject.genie_checkpoints:
                raise LeftOut(f"{subject.run} holds none of Genie's stages")
            with measured() as cost:
                found = parts[part]()
        except LeftOut as reason:
            left_out[part] = str(reason)
            print(f"left out: {reason}", flush=True)
            continue
        except Exception as error:  # of one part: what the others measure is not lost
            if wants_trace():
                raise
            failed[part] = failure(error)
            print(f"not measured: {failed[part]}", flush=True)
            continue
        costs[part] = {**asdict(cost), **found.pop("cost", {})}
        left_out |= found.pop("left_out", {})
        for name, values in found.items():
            figures[name] = figures.get(name, {}) | values
        print(f"{cost.seconds:.0f} s", flush=True)
        with replacing(folder / PARTIAL, "w") as file:
            file.write(to_json(plain({**figures, "cost": costs, "left_out": left_out, "failed": failed})))
    if "lam" in figures and "confusion" not in figures["lam"]:
        left_out["lam.action_nmi"] = "the data record no true actions"
    if "tokens" in figures and "token_accuracy" not in figures["tokens"]:
        left_out["tokens.token_accuracy"] = "there is no dynamics, or it is not known what was done in the clips"
    if "rollout" in figures and "rollout_objects" not in figures:
        left_out["rollout_objects"] = "the data record no object positions"
    if "reward" in figures and "imagined" not in figures["reward"]:
        left_out["reward.imagined"] = "it is not known what was done in the clips"
    return {**figures, "cost": costs, "left_out": left_out, "failed": failed}


def rollout_settings(config: dict[str, Any]) -> RolloutSettings:
    """The part of the configuration that rollouts need."""
    delta = config["delta_psnr"]
    return RolloutSettings(
        config["prompt_frames"],
        config["horizon"],
        tuple(delta["t"]),
        delta["seeds"],
        config["seed"],
        config["fps"],
    )


def measure_distances(config: dict[str, Any], subject: TrainedRun) -> dict[str, Any]:
    """FVD and KVD, on clips of their own length."""
    settings, prompt = config["fvd"], config["prompt_frames"]
    subject.world  # noqa: B018  left out without one, before anything is fetched
    features = load_features(settings["frames"], settings["resize"])
    length = prompt + settings["frames"]
    try:
        clips = held_out(config, subject.data_config, 2 * settings["videos"], length)
    except UserError as error:
        raise LeftOut(str(error)) from error
    return evaluate_distances(subject, clips, features, prompt, settings["baselines"], config["seed"])


def draw_grid(
    config: dict[str, Any], subject: TrainedRun, clips: Clips, figures: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """The grid of actions, their rows named after the true actions where these are known; no figures."""
    num_actions, names = subject.world.num_actions, true_names(clips)
    if subject.takes_environment_actions and len(names) == num_actions:
        labels = names
    else:
        labels = latent_labels(num_actions, figures.get("lam", {}).get("confusion"), names)
    grid = config["grid"]
    settings = GridSettings(config["prompt_frames"], grid["frames"], config["seed"], config["fps"])
    draw_action_grid(subject, clips.sample(grid["prompts"]), labels, settings, folder)
    return {}


def draw_maps(config: dict[str, Any], subject: TrainedRun, clips: Clips, folder: Path) -> dict[str, Any]:
    """What one token looks at, in the tokenizer and in the dynamics; no figures."""
    settings = AttentionSettings(**config["attention"])
    draw_attention(subject, MODELS, clips, settings, folder / "attention.png")
    return {}


@dataclass(frozen=True)
class Evaluated:
    """`values` of an evaluation.json in `folder`, of the run with the folder `run`, which is called `name`."""

    name: str
    run: Path
    folder: Path
    values: dict[str, Any]


def evaluate_runs(config: dict[str, Any]) -> list[Evaluated]:
    """Evaluates config["run"], one folder or several, in this order; with `reuse`, only what is out of date.

    Raises UserError for a value that cannot be and for a run that holds nothing, before any work.
    """
    given = config["run"]
    runs = [str(run) for run in given] if isinstance(given, list) else [str(given)]
    names = labels(runs)
    check(config)
    for run in runs:
        TrainedRun(run, choose_device(config["device"]), config, config["world"])
    folders = [
        Path(_output(config["output"], name, len(runs)) or Path(run) / "evaluation")
        for name, run in zip(names, runs, strict=True)
    ]
    with ExitStack() as writing:
        for folder in dict.fromkeys(folders):
            writing.enter_context(one_writer(folder, "output="))
        return _evaluate_into(folders, names, runs, config)


def _evaluate_into(folders: list[Path], names: list[str], runs: list[str], config: dict[str, Any]) -> list[Evaluated]:
    evaluated = []
    for name, run, folder in zip(names, runs, folders, strict=True):
        one = {**config, "run": run, "output": _output(config["output"], name, len(runs))}
        known = folder / "evaluation.json"
        if config["reuse"] and still_holds(known, one):
            print(f"{run}: taken from {known}")
            values = json.loads(known.read_text())
        else:
            if len(runs) > 1:
                print(run)
            values, folder = evaluate(one)
        evaluated.append(Evaluated(name, Path(run), folder, values))
    return evaluated


def report_folder(config: dict[str, Any], evaluated: list[Evaluated]) -> Path:
    """Where the report goes: beside evaluation.json, or of a comparison into a folder of its own."""
    if len(evaluated) == 1:
        return evaluated[0].folder
    return Path(config["output"] or evaluated[0].run.parent / "comparison")


def labels(runs: list[str]) -> list[str]:
    """The shortest ends of the paths by which they differ. Raises UserError for no path and for one given twice."""
    paths = [Path(os.path.abspath(run)).parts for run in runs]
    if not runs or len(set(paths)) < len(paths):
        raise UserError(f"run=[{','.join(runs)}]: give one folder outputs/<name>, or several that differ")
    for length in range(1, max(map(len, paths)) + 1):
        ends = ["/".join(parts[-length:]) for parts in paths]
        if len(set(ends)) == len(ends):
            return ends
    raise AssertionError("paths that differ have ends that differ")


def _output(output: str | None, name: str, count: int) -> str | None:
    return output if output is None or count == 1 else str(Path(output) / name.replace("/", "_"))
