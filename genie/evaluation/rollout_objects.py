"""Objects in rollouts: is the ball still there after ten generated frames, once, and where it should be?"""

from pathlib import Path

from torch import Tensor

from genie.evaluation.clips import Clips
from genie.evaluation.plots import plot_objects
from genie.metrics.object_detector import ObjectDetector
from genie.metrics.object_presence import ObjectPresence, reference

# name of a video in the figures -> how it is called among those of the rollout
VIDEOS = {"generated": "", "copy_last": "_copy_last", "reconstruction": "_reconstruction"}
FIGURES = ("present", "in_place", "doubled", "mass", "distance_mean", "distance_median", "invented")


class RolloutObjects:
    """Collects the videos of rollouts over batches of clips; the detector learns from all frames of `clips`, which
    record object positions; `prompt` given frames, then `horizon` generated ones."""

    def __init__(self, clips: Clips, prompt: int, horizon: int) -> None:
        detector = ObjectDetector(clips.floats().flatten(0, 1), clips.objects.flatten(0, 1), clips.background)
        self.names, self.prompt = clips.object_names, prompt
        self.metrics = {name: ObjectPresence(detector, horizon) for name in VIDEOS}
        self.detector = detector

    def update(self, videos: dict[str, Tensor], batch: Clips) -> None:
        """The videos [B, n, C, H, W] in [0, 1] (or what can be broadcast to that) after the prompts of `batch`."""
        truth = reference(self.detector, batch.floats()[:, self.prompt :], batch.objects[:, self.prompt :])
        for name, metric in self.metrics.items():
            metric.update(videos[VIDEOS[name]], truth)

    def figures(self, folder: Path) -> dict[str, dict]:
        """By object that is seen at all: the counts `seen` and `absent`, `false_alarms`, and for each of `VIDEOS` the
        `FIGURES` of `ObjectPresence`, over all horizons and `_by_horizon`; draws rollout_objects.png."""
        values = {name: metric.compute() for name, metric in self.metrics.items()}
        figures: dict[str, dict] = {}
        for index, name in enumerate(self.names):
            counts = values["generated"]
            if not counts["seen"][index]:
                continue
            figures[name] = {
                "seen": int(counts["seen"][index]),
                "absent": int(counts["absent"][index]),
                "false_alarms": float(counts["false_alarms"][index]),
            }
            for video, found in values.items():
                figures[name][video] = {figure: float(found[figure][index]) for figure in FIGURES}
                figures[name][video] |= {f"{f}_by_horizon": found[f"{f}_by_horizon"][index].tolist() for f in FIGURES}
        if figures:
            plot_objects(figures, folder / "rollout_objects.png")
        return figures
