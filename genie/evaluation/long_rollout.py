"""Long rollouts: comparison of 1,000 generated frames under random actions with the real game.

After so many frames the ball of the true video cannot be predicted, so generated videos are compared as a whole with
the real game, played on from the same prompts under actions that are drawn in the same way, and with the recording.

Dimension letters: `N` videos, `P` frames of the prompt.
"""

import re
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_modules.held_out_clips import Clips, held_out
from genie.common.errors import UserError
from genie.common.random import Stream
from genie.common.settings.evaluation import EvaluateConfig
from genie.evaluation.environment_replay import recorded_environment
from genie.evaluation.fvd import features_of, load_features
from genie.evaluation.imagination import ImaginedClips
from genie.evaluation.long_rollout_plots import draw_moments, plot_presence, plot_spectrum, plot_speeds
from genie.evaluation.long_videos import (
    LongVideos,
    Window,
    held_actions,
    imagined_stretches,
    object_field,
    played_videos,
    recorded_videos,
    watch,
)
from genie.evaluation.part import Evaluation, Part, Row, number, percent
from genie.evaluation.rollout import clip_seeds
from genie.evaluation.trained_run import LeftOut
from genie.metrics.fvd import frechet_distance, kernel_distance
from genie.metrics.long_videos import (
    PERIODS,
    agreement,
    change_spectrum,
    flicker,
    ks_distance,
    least_changes,
    points,
    shares,
    shares_by_quarter,
    speeds,
)
from genie.metrics.metric_info import LOWER, Definition, MetricInfo
from genie.metrics.object_detector import ObjectDetector
from genie.planning.plots import shows_frames

BALL = "ball"  # the object that makes points where it leaves the field
SHOWN_FRAMES = 48  # of each moment of the video
MOMENTS = (100, 300)  # first frames of these, beside the last ones
SHOWN_WORLDS = 2


def evaluate_long_rollout(config: EvaluateConfig, imagined: ImaginedClips, folder: Path) -> dict[str, Any]:
    """{"long_rollout": …, "cost": …, "left_out": …}; writes long_rollout.mp4 and a plot for each kind of metric.

    long_rollout: `worlds`, `frames` of each, the `real_frames`; of each object, of `points`, of the `flicker` and of
    `fvd` the metrics by the videos that they are of (`generated`, the real `game` played likewise, `recorded`), and the
    differences of the generated ones from the real game (from the recorded videos where the game cannot be played):
    `presence_error`, `speed_ks`, `rate_error`. left_out: reasons for missing metrics, by name. Raises LeftOut for a
    world of states.
    """
    world, seed, settings = imagined.world, config.seed, config.long_rollout
    if not shows_frames(world):
        raise LeftOut("a world of states shows no frames")
    data = imagined.run.world_data_config
    prompts = held_out(config, data, settings.worlds, imagined.prompt)
    seeds = clip_seeds(seed, range(len(prompts)), Stream.LONG_ROLLOUT)
    learned = imagined.clips
    detector, left_out = None, {}
    if learned.has_objects:
        detector = ObjectDetector(learned.floats().flatten(0, 1), learned.objects.flatten(0, 1), learned.background)
    else:
        left_out["long_rollout.objects"] = "the data record no object positions"
    shown = shown_windows(settings.frames)
    videos_length = config.fvd.frames
    windows = [*shown, *[(start, videos_length) for start in settings.fvd if start + videos_length <= settings.frames]]

    started = time.monotonic()
    actions = held_actions(world.action_space, settings.frames, settings.hold, seeds)
    generated = LongVideos()
    for rows in torch.arange(len(prompts)).split(prompts.batch_size):
        stretches = imagined_stretches(world, prompts.select(rows), actions[rows], seeds[rows])
        generated.append(watch(stretches, detector, windows))
    seconds = time.monotonic() - started
    videos = {"generated": generated}
    try:
        recorded = recorded_environment(prompts, config.split, data)
        videos["game"] = played_videos(recorded, prompts, settings.frames, settings.hold, seeds, detector, windows)
    except LeftOut as reason:
        left_out["long_rollout.game"] = str(reason)
    videos["recorded"] = recorded_videos(prompts.source, detector, generated.frames)

    figures: dict[str, Any] = {"worlds": len(generated), "frames": settings.frames}
    figures |= {"hold": settings.hold, "real_frames": {name: videos[name].frames for name in list(videos)[1:]}}
    if detector is not None:
        names = learned.object_names
        figures |= object_figures(videos, names)
        if BALL in names:
            index = names.index(BALL)
            figures["points"] = point_figures(videos, index, object_field(prompts.source, index))
        plot_presence(videos, names, folder / "long_rollout_presence.png")
        plot_speeds(videos, names, folder / "long_rollout_speed.png")
    try:
        figures["flicker"] = flicker_figures(videos, window_period(world), folder)
    except LeftOut as reason:
        left_out["long_rollout.flicker"] = str(reason)
    if settings.fvd:
        try:
            figures["fvd"] = distance_figures(config, videos, data, world.device, left_out)
        except LeftOut as reason:
            left_out["long_rollout.fvd"] = str(reason)
    moments = {window: generated.windows[window] for window in shown}
    beside = videos["game"].windows if "game" in videos else recorded_moments(config, data, shown)
    draw_moments(moments, beside, SHOWN_WORLDS, config.fps, folder / "long_rollout.mp4")
    cost = {"seconds_per_frame": seconds / generated.frames}
    return {"long_rollout": figures, "cost": cost, "left_out": left_out}


def shown_windows(frames: int) -> list[Window]:
    """The moments of the video: those of `MOMENTS` within the rollout, and its end."""
    length = min(SHOWN_FRAMES, frames)
    return [*[(start, length) for start in MOMENTS if start + 2 * length <= frames], (frames - length, length)]


def object_figures(videos: dict[str, LongVideos], names: list[str]) -> dict[str, dict]:
    """Of each object that any of the videos shows, by the videos: `present` and `doubled`, shares of all frames in
    which it is found, and found more than once, and both `_by_quarter` of the videos; `speed_median` in pixels per
    frame. And of the generated ones against the real ones `presence_error` and `speed_ks`."""
    real = _real(videos)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for whose, some in videos.items():
        for figure, least in (("present", 1), ("doubled", 2)):
            values, quarters = shares(some.tracks, least), shares_by_quarter(some.tracks, least)
            for index, name in enumerate(names):
                entry = found[name].setdefault(whose, {})
                entry[figure] = float(values[index])
                if whose != "recorded":  # whose episodes all begin anew
                    entry[f"{figure}_by_quarter"] = quarters[:, index].tolist()
        for index, name in enumerate(names):
            moves = speeds(some.tracks, index)
            found[name][whose]["speed_median"] = float(moves.median()) if len(moves) else None
    for index, name in enumerate(names):
        moves = [speeds(videos[whose].tracks, index) for whose in ("generated", real)]
        away = abs(found[name]["generated"]["present"] - found[name][real]["present"])
        found[name] = {"presence_error": away, "speed_ks": ks_distance(*moves), **found[name]}
    return {name: figures for name, figures in found.items() if any(figures[whose]["present"] for whose in videos)}


def point_figures(videos: dict[str, LongVideos], index: int, field: tuple[float, float]) -> dict[str, Any]:
    """By the videos, `per_1000_frames`: how often the ball leaves the `field` at its `left` or `right` end, and both
    together; `rate_error`, the difference of the generated ones from the real ones. Where rewards of real videos are
    known, `rule_recall` is the share of them that come with such a point, `rule_precision` the share of the points
    that come with a reward."""
    figures: dict[str, Any] = {}
    totals = torch.zeros(4, dtype=torch.int64)
    for whose, some in videos.items():
        found = [points(track, index, field) for track in some.tracks]
        sides = torch.tensor([[int((one == side).sum()) for side in (-1, 1)] for one in found]).sum(0) / some.frames
        left, right = (1000 * sides).tolist()
        figures[whose] = {"per_1000_frames": left + right, "left": left, "right": right}
        if some.rewards:
            for one, rewards in zip(found, some.rewards, strict=True):
                totals += torch.tensor(agreement(one, rewards))
    rewards, with_point, count, with_reward = totals.tolist()
    rule = {"rule_recall": with_point / rewards} if rewards else {}
    rule |= {"rule_precision": with_reward / count} if rewards and count else {}
    away = abs(figures["generated"]["per_1000_frames"] - figures[_real(videos)]["per_1000_frames"])
    return {"rate_error": away, **figures, **rule}


def window_period(world: Any) -> int:
    """Number of frames after which the world's window begins anew. Raises LeftOut where there is no such period."""
    if not hasattr(world, "keep"):
        raise LeftOut("the world has no window of frames that begins anew")
    period = world.window - world.keep
    if period < 2:
        raise LeftOut("the window begins anew with every frame")
    return period


def flicker_figures(videos: dict[str, LongVideos], period: int, folder: Path) -> dict[str, Any]:
    """`period` in frames, and by the videos the `ratio` (`genie.metrics.long_videos`); draws
    long_rollout_spectrum.png."""
    if all(len(one) < least_changes(period) for one in videos["generated"].changes):
        raise LeftOut(
            f"it takes {PERIODS} periods of the window, and so long_rollout.frames of at least "
            f"{least_changes(period) + 1}"
        )
    spectra = {}
    for whose, some in videos.items():
        if any(len(one) >= least_changes(period) for one in some.changes):
            spectra[whose] = change_spectrum(some.changes, period)
    plot_spectrum(spectra, period, folder / "long_rollout_spectrum.png")
    return {"period": period, **{whose: {"ratio": flicker(spectrum)} for whose, spectrum in spectra.items()}}


def distance_figures(
    config: EvaluateConfig, videos: dict[str, LongVideos], data: dict[str, Any],
    device: torch.device, left_out: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    """FVD `at_<frame>` and KVD `kvd_at_<frame>` of generated videos that begin there, `…_game` of the real game at the
    same moments, all against recorded clips; `floor` and `kvd_floor` of these against others."""
    length, settings = config.fvd.frames, config.long_rollout
    starts = [start for start in settings.fvd if start + length <= settings.frames]
    for start in settings.fvd:
        if start not in starts:
            left_out[f"long_rollout.fvd.at_{start}"] = (
                f"long_rollout.frames={settings.frames} ends before {start + length}"
            )
    if not starts:
        raise LeftOut("long_rollout.fvd names no moment in the rollouts")
    features = load_features(length, config.fvd.resize)
    try:
        clips = held_out(config, data, 2 * len(videos["generated"]), length)
    except UserError as error:
        raise LeftOut(str(error)) from error
    count = min(len(videos["generated"]), len(clips) // 2)
    if count < 2:
        raise LeftOut(f"{count} videos are too few for a distance: give long_rollout.worlds= at least 2")
    real, other = (features_of(features, clips.frames[first::2][:count], device) for first in (0, 1))
    compared = {"floor": other}
    for start in starts:
        window = start, length
        made = videos["generated"].windows[window][:count].float() / 255  # floats: they do not come again
        compared[f"at_{start}"] = features_of(features, made, device)
        if "game" in videos:
            compared[f"at_{start}_game"] = features_of(features, videos["game"].windows[window][:count], device)
    figures: dict[str, Any] = {"name": f"fvd/{features.name}_{count}v", "videos": count}
    for prefix, distance in (("", frechet_distance), ("kvd_", kernel_distance)):
        figures |= {prefix + name: float(distance(real, some)) for name, some in compared.items()}
    return {**figures, "protocol": features.protocol}


def recorded_moments(config: EvaluateConfig, data: dict[str, Any], shown: list[Window]) -> dict[Window, Tensor]:
    """Recorded clips in place of the real game's moments, uint8 [N, w, C, H, W] each; none where all episodes are
    shorter."""
    try:
        clips: Clips = held_out(config, data, SHOWN_WORLDS * len(shown), shown[0][1])
    except UserError:
        return {}
    return {window: clips.frames[number :: len(shown)] for number, window in enumerate(shown)}


def _real(videos: dict[str, LongVideos]) -> str:
    """The videos that generated ones are compared with."""
    return "game" if "game" in videos else "recorded"


DEFINITION = Definition(
    "long_rollout", "Long rollouts", "Long rollouts",
    "Far ahead nobody knows where the ball is, so generated videos under held random actions are compared as a "
    "whole with the real game, played on from the same prompts in the same way, and with the recording. A point: "
    "the ball is seen last near the left or right end of the field, and then not for some frames. Speeds: of "
    "frames that follow each other and have the object once; the Kolmogorov-Smirnov distance is the largest "
    "difference of two distribution functions. Flicker: the power of the change from frame to frame at the period "
    "at which the world's window begins anew, over that of the periods around it.",
)  # fmt: skip


def _metric(path: str, label: str, says: str = "", unit: str = "", digits: int = 2, **more: Any) -> MetricInfo:
    return MetricInfo(f"long_rollout.{path}", label, says, DEFINITION, unit, digits, **more)


# the present share of an object is best where it is that of the real game: `presence_error`
METRICS = (
    _metric("worlds", "worlds", "prompts that are continued", digits=0),
    _metric("frames", "frames of each", "generated after the prompt", digits=0),
    _metric("hold", "actions are held for", "in the mean", "frames", 1),
    _metric("real_frames.{which:game|recorded}", "real frames, {which}", digits=0),
    _metric("{object}.presence_error", "{object}, error of its presence",
            "difference from the real share of frames that have it", "%", 1, better=LOWER),
    _metric("{object}.speed_ks", "{object}, speeds", "Kolmogorov-Smirnov distance from the real ones, 0 to 1",
            better=LOWER),
    _metric("{object}.speed_median", "{object}, median speed", unit="px"),
    _metric("{object}.present", "{object} present", "share of all frames", "%", 1),
    _metric("{object}.doubled", "{object} more than once", "share of all frames", "%", 1, better=LOWER),
    _metric("{object}.present_by_quarter", "{object} present, by quarter", "", "%", 1),
    _metric("{object}.doubled_by_quarter", "{object} more than once, by quarter", "", "%", 1, better=LOWER),
    _metric("points.rate_error", "error of the points", "difference from the real ones per 1,000 frames", digits=1,
            better=LOWER),
    _metric("points.per_1000_frames", "points per 1,000 frames", "the ball leaves at a side", digits=1),
    _metric("points.{side:left|right}", "… of them at the {side}", digits=1),
    _metric("points.rule_recall", "recorded rewards that come with such a point",
            "how well the rule works on real frames", "%", 1),
    _metric("points.rule_precision", "real points that come with a reward", "", "%", 1),
    _metric("flicker.period", "period of the window", "", "frames", 0),
    _metric("flicker.ratio", "flicker at the period of the window", "1: none", better=LOWER),
    _metric("fvd.at_{frame:d}", "FVD of videos from frame {frame}", "against recorded clips", digits=1, better=LOWER),
    _metric("fvd.kvd_at_{frame:d}", "KVD of videos from frame {frame}", "against recorded clips", better=LOWER),
    _metric("fvd.floor", "FVD, recorded clips against others", digits=1),
    _metric("fvd.kvd_floor", "KVD, recorded clips against others"),
    _metric("fvd.videos", "videos on each side", digits=0),
)  # fmt: skip


def _rows(report: dict) -> list[Row]:
    figures, rows = report.get("long_rollout", {}), []
    frames, real = figures.get("frames"), "game" if "game" in figures.get("real_frames", {}) else "recorded"
    for name, one in figures.items():
        if isinstance(one, dict) and "presence_error" in one:
            share = f"real {percent(one[real]['present'])}, twice {percent(one['generated']['doubled'])}"
            moves = "no speeds" if one["speed_ks"] is None else f"speeds differ by {one['speed_ks']:.2f} (KS)"
            present = percent(one["generated"]["present"])
            rows.append((f"{frames} frames have the {name}", present, "", "", f"{share}, {moves}"))
    if scored := figures.get("points"):
        note = f"real {number(scored[real]['per_1000_frames'], 1)}"
        rows.append(("points per 1000 frames", number(scored["generated"]["per_1000_frames"], 1), "", "", note))
    if flickering := figures.get("flicker"):
        ratios = [number(flickering.get(whose, {}).get("ratio"), none="not measured") for whose in ("generated", real)]
        rows.append((f"flicker, each {flickering['period']} frames", ratios[0], "", "", f"1: none; real {ratios[1]}"))
    fvd = figures.get("fvd", {})
    for name in [name for name in fvd if re.fullmatch(r"at_\d+", name)]:
        played = f"the real game {number(fvd[f'{name}_game'], 1)}, " if f"{name}_game" in fvd else ""
        note = f"{fvd['videos']} videos; {played}recorded ones {number(fvd['floor'], 1)}"
        rows.append((f"FVD from frame {name[3:]}", number(fvd[name], 1), "", "", note))
    return rows


def _measure(evaluation: Evaluation) -> dict:
    return evaluate_long_rollout(evaluation.config, evaluation.imagined, evaluation.folder)


LONG_ROLLOUT = Part(
    "long_rollout",
    _measure,
    needs=("world",),
    metrics=METRICS,
    titles={"long_rollout": "Long rollouts"},
    rows=_rows,
)
