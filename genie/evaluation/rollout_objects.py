"""Objects in rollouts: presence, position, rallies, and obedience to the actions.

Dimension letters: `B` batch, `n` horizon, `C H W` channels and pixels.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from data_modules.held_out_clips import Clips
from genie.common.plots import plot_objects
from genie.evaluation.latent_actions import true_names
from genie.evaluation.part import Row, number, percent
from genie.metrics.actions import Obedience
from genie.metrics.metric_info import HIGHER, LOWER, Definition, MetricInfo
from genie.metrics.object_detector import ObjectDetector
from genie.metrics.objects import ConstantVelocity, ObjectPresence, blobs_at, places, reference

# name of a video among the objects' metrics -> among those of the rollout
OBJECT_VIDEOS = {"generated": "", "copy_last": "_copy_last", "reconstruction": "_reconstruction"}
TRACKER = "constant_velocity"  # has positions and no video
FIGURES = ("present", "in_place", "doubled", "mass", "distance_mean", "distance_median", "invented")
RALLY_FIGURES = ("present", "in_place", "doubled", "distance_mean", "distance_median")
NOT_TRACKED = ("doubled", "mass")  # of pictures alone
ENDS = ("low", "high")  # of the intervals over clips
WITH_INTERVALS = ("present", "in_place", "doubled", "invented", "distance_mean")


class RolloutObjects:
    """Objects in rollouts of `horizon` frames after a `prompt`, over batches of clips; detector and tracker learn from
    all frames of `clips`, which record object positions."""

    def __init__(self, clips: Clips, prompt: int, horizon: int) -> None:
        detector = ObjectDetector(clips.floats().flatten(0, 1), clips.objects.flatten(0, 1), clips.background)
        self.names, self.prompt, self.horizon = clips.object_names, prompt, horizon
        self.tracker = ConstantVelocity(clips.objects)
        self.metrics = {name: ObjectPresence(detector, horizon) for name in (*OBJECT_VIDEOS, TRACKER)}
        self.rallies = {name: ObjectPresence(detector, horizon) for name in (*OBJECT_VIDEOS, TRACKER)}
        self.obedience = None
        if clips.actions is not None and clips.info.num_actions:
            self.obedience = Obedience(len(self.names), clips.info.num_actions)
            self.actions = true_names(clips)
        self.detector = detector

    def update(self, videos: dict[str, Tensor], batch: Clips) -> None:
        """The videos [B, n, C, H, W] in [0, 1] (or what can be broadcast to that) after the prompts of `batch`."""
        truth = reference(self.detector, batch.floats(), batch.objects)
        after, rally = truth.after(self.prompt), truth.rally(self.prompt)
        shape = after.seen.shape
        found = {TRACKER: blobs_at(self.tracker(batch.objects[:, : self.prompt], self.horizon))}
        for name, called in OBJECT_VIDEOS.items():
            video = videos[called]
            found[name] = self.detector.blobs(video.expand(*shape[:2], *video.shape[2:]).flatten(0, 1))
        for name, blobs in found.items():
            self.metrics[name].update(blobs, after)
            self.rallies[name].update(blobs, rally)
        if self.obedience is not None:
            made = places(self.detector, found["generated"], shape)
            self.obedience.update(made, batch.objects, batch.actions[:, :-1].cpu())

    def figures(self, folder: Path) -> dict[str, dict]:
        """By object that is ever seen: the counts `seen` and `absent`, `false_alarms`, and for each of `OBJECT_VIDEOS`
        and the tracker the `FIGURES` of `ObjectPresence`, over all horizons and `_by_horizon`, with the `_low` and
        `_high` ends of their intervals over clips; under `rally` the same of the frames of rallies, with the counts
        `frames` and `clips_by_horizon` of these; and for the object that the actions move its `obedience`. Draws
        rollout_objects.png."""
        values = {name: metric.compute() for name, metric in self.metrics.items()}
        rallies = {name: metric.compute() for name, metric in self.rallies.items()}
        figures: dict[str, dict] = {}
        for index, name in enumerate(self.names):
            counts, rally = values["generated"], rallies["generated"]
            if not counts["seen"][index]:
                continue
            figures[name] = {
                "seen": int(counts["seen"][index]),
                "absent": int(counts["absent"][index]),
                "false_alarms": float(counts["false_alarms"][index]),
                **_of_object(values, index, FIGURES),
            }
            if rally["seen"][index]:
                figures[name]["rally"] = {
                    "frames": int(rally["seen"][index]),
                    "clips_by_horizon": [int(count) for count in rally["seen_by_horizon"][index]],
                    **_of_object(rallies, index, RALLY_FIGURES),
                }
        if obeyed := self._obedience():
            figures.get(obeyed.pop("object"), {})["obedience"] = obeyed
        if figures:
            plot_objects(figures, folder / "rollout_objects.png")
        return figures

    def _obedience(self) -> dict | None:
        """Results of `Obedience`, with the names of the `object` and of the `actions`."""
        found = self.obedience.compute() if self.obedience is not None else None
        if found is None:
            return None
        columns = [found.pop(name).tolist() for name in ("generated", "true", "count")]
        found["object"] = self.names[found["object"]]
        found["actions"] = {
            action: {"generated": made, "true": true, "transitions": int(count)}
            for action, made, true, count in zip(self.actions, *columns, strict=True)
        }
        return found


def _of_object(values: dict[str, dict[str, Tensor]], index: int, names: tuple[str, ...]) -> dict[str, dict]:
    """Of object number `index`, by video: each of the figures `names`, and its curve over the horizon."""
    found: dict[str, dict] = {}
    for video, computed in values.items():
        shown = [name for name in names if video != TRACKER or name not in NOT_TRACKED]
        shown += [f"{name}_{end}" for name in shown if name in WITH_INTERVALS for end in ENDS]
        found[video] = {figure: float(computed[figure][index]) for figure in shown}
        found[video] |= {f"{figure}_by_horizon": computed[f"{figure}_by_horizon"][index].tolist() for figure in shown}
    return found


PRESENCE = Definition(
    "object_presence", "Objects in rollouts", "Objects in rollouts",
    "In a rollout an object may be elsewhere than in the truth, so it is searched for in the generated frame. "
    "Present: found at all, as a share of the frames that truly show it. In place: found near its true position. "
    "Doubled: found more than once. Invented: found where there is none.",
)  # fmt: skip
RALLY = Definition(
    "rally", "Rallies", "Rallies",
    "An object is in a rally while the true frames show it: in the last two given ones and in every one since, up "
    "to the one that is judged. So nobody has to foresee when and where it comes back. Beside what was generated: "
    "the true tokens decoded (the ceiling), and a tracker that goes on with the last displacement and is reflected "
    "at walls. In brackets the 95% interval over clips.",
)  # fmt: skip
OBEDIENCE = Definition(
    "obedience", "Obedience", "Obedience",
    "Of the object whose displacement depends most on the recorded actions: its displacement from frame to frame "
    "in what was generated, against that of the true game under the same action.",
)  # fmt: skip


def _object(path: str, *description: Any, **more: Any) -> MetricInfo:
    return MetricInfo(f"rollout_objects.{{object}}.{path}", *description, **more)


OBJECT_METRICS = (
    _object("rally.{what:present|in_place}[_by_horizon]", "{object} {what}, in rallies",
            "share of the frames until the truth first loses it", RALLY, "%", 1, HIGHER,
            logged="rollout/{object}_rally_{what:present|in_place}"),
    _object("rally.doubled[_by_horizon]", "{object} doubled, in rallies", "", RALLY, "%", 1, LOWER,
            logged="rollout/{object}_rally_doubled"),
    _object("rally.distance_{average:mean|median}[_by_horizon]", "{object}, distance, {average}, in rallies",
            "from its true position, of those present", RALLY, "px", better=LOWER),
    _object("rally.frames", "{object}, frames in rallies", "", RALLY, digits=0),
    _object("rally.clips_by_horizon", "{object}, clips in a rally", "", RALLY, digits=0),
    _object("obedience.correlation", "{object} obeys, correlation",
            "of its displacements with the true ones, frame by frame", OBEDIENCE, better=HIGHER,
            beside={"transitions": "transitions", "dependence": "how far the actions decide the true ones"}),
    _object("obedience.sign_accuracy", "{object} obeys, direction",
            "share of its true displacements whose direction is right", OBEDIENCE, "%", 1, HIGHER),
    _object("obedience.actions.{action}.generated", "{object}, displacement under {action}",
            "mean over the frames after this action", OBEDIENCE, "px",
            beside={"true": "in the true game", "transitions": "transitions"}),
    _object("obedience.axis", "{object}, moved along", "", OBEDIENCE),
    _object("obedience.transitions", "transitions", digits=0),
    _object("obedience.actions.{action}.transitions", "transitions", digits=0),
    _object("{what:present|in_place}[_by_horizon]", "{object} {what}", "share of the frames that truly show it",
            PRESENCE, "%", 1, HIGHER),
    _object("{what:doubled|invented}[_by_horizon]", "{object} {what}", "", PRESENCE, "%", 1, LOWER),
    _object("mass[_by_horizon]", "{object}, mass", "1: as much as in the truth", PRESENCE),
    _object("distance_{average:mean|median}[_by_horizon]", "{object}, distance, {average}",
            "from its true position, of those present", PRESENCE, "px", better=LOWER),
    _object("false_alarms", "{object}, false alarms", "found in true frames where it is not", PRESENCE, "%", 1, LOWER),
    _object("{which:seen|absent}", "{object}, frames {which}", "", PRESENCE, digits=0),
)  # fmt: skip


def object_rows(report: dict) -> list[Row]:
    """Of each object its presence in rollouts, in rallies, and its obedience."""
    rows = []
    for name, figures in report.get("rollout_objects", {}).items():
        made, copied = figures["generated"], figures["copy_last"]
        in_place = f"in place {percent(made['in_place'])} (copy {percent(copied['in_place'])})"
        note = f"{in_place}, twice {percent(made['doubled'])}"
        rows.append((f"rollout has the {name}", percent(made["present"]), percent(copied["present"]), "", note))
        if "rally" in figures:  # not in an evaluation by an older version
            rows.append(_rally_row(figures["rally"]))
        if "obedience" in figures:
            rows.append(_obedience_row(name, figures["obedience"]))
    return rows


def _rally_row(rally: dict) -> Row:
    made, others = rally["generated"], {"ceiling": rally["reconstruction"], "tracker": rally["constant_velocity"]}
    beside = ", ".join(f"{what} {percent(other['in_place'])}" for what, other in others.items())
    ends = "-".join(percent(made[f"in_place_{end}"]) for end in ENDS)
    note = f"in place {percent(made['in_place'])} ({ends}; {beside}), twice {percent(made['doubled'])}"
    present = percent(made["present"]), percent(rally["copy_last"]["present"])
    return (f"… in rallies, {rally['frames']} frames", *present, "", note)


def _obedience_row(name: str, obeyed: dict) -> Row:
    parts = (
        f"{action} {number(moves['generated'], none='?')} (true {number(moves['true'], none='?')})"
        for action, moves in obeyed["actions"].items()
    )
    note = f"right direction {percent(obeyed['sign_accuracy'])}; pixels along {obeyed['axis']}: {', '.join(parts)}"
    return f"{name} obeys, correlation", number(obeyed["correlation"], none="not measured"), "", "", note
