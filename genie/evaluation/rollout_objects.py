"""Objects in rollouts: is the ball still there after ten generated frames, once, and where it should be?"""

from pathlib import Path

from torch import Tensor

from genie.common.plots import plot_objects
from genie.evaluation.clips import Clips
from genie.evaluation.latent_actions import true_names
from genie.metrics.actions import Obedience
from genie.metrics.object_detector import ObjectDetector
from genie.metrics.objects import ConstantVelocity, ObjectPresence, blobs_at, places, reference

# name of a video in the figures -> how it is called among those of the rollout
VIDEOS = {"generated": "", "copy_last": "_copy_last", "reconstruction": "_reconstruction"}
TRACKER = "constant_velocity"  # gives positions and no video
FIGURES = ("present", "in_place", "doubled", "mass", "distance_mean", "distance_median", "invented")
RALLY_FIGURES = ("present", "in_place", "doubled", "distance_mean", "distance_median")
NOT_TRACKED = ("doubled", "mass")  # what only pictures have
ENDS = ("low", "high")  # of the intervals over clips
WITH_INTERVALS = ("present", "in_place", "doubled", "invented", "distance_mean")


class RolloutObjects:
    """Collects the videos of rollouts over batches of clips; the detector and the tracker learn from all frames of
    `clips`, which record object positions; `prompt` given frames, then `horizon` generated ones."""

    def __init__(self, clips: Clips, prompt: int, horizon: int) -> None:
        detector = ObjectDetector(clips.floats().flatten(0, 1), clips.objects.flatten(0, 1), clips.background)
        self.names, self.prompt, self.horizon = clips.object_names, prompt, horizon
        self.tracker = ConstantVelocity(clips.objects)
        self.metrics = {name: ObjectPresence(detector, horizon) for name in (*VIDEOS, TRACKER)}
        self.rallies = {name: ObjectPresence(detector, horizon) for name in (*VIDEOS, TRACKER)}
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
        for name, called in VIDEOS.items():
            video = videos[called]
            found[name] = self.detector.blobs(video.expand(*shape[:2], *video.shape[2:]).flatten(0, 1))
        for name, blobs in found.items():
            self.metrics[name].update(blobs, after)
            self.rallies[name].update(blobs, rally)
        if self.obedience is not None:
            made = places(self.detector, found["generated"], shape)
            self.obedience.update(made, batch.objects, batch.actions[:, :-1].cpu())

    def figures(self, folder: Path) -> dict[str, dict]:
        """By object that is seen at all: the counts `seen` and `absent`, `false_alarms`, and for each of `VIDEOS` the
        `FIGURES` of `ObjectPresence`, over all horizons and `_by_horizon`, with the `_low` and `_high` ends of their
        intervals over clips; under `rally` the same of the frames of rallies, with the counts `frames` and
        `clips_by_horizon` of these; and for the object that the actions move its `obedience`. The tracker
        `constant_velocity` stands beside the videos. Draws rollout_objects.png."""
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
        """What `Obedience` says, `object` by its name and the `actions` by theirs."""
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
