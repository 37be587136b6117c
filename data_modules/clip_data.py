"""Clips of a data set by split, as the settings of the group `data` describe them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from data_modules.action_clusters import with_clusters
from data_modules.action_ids import ActionOptions
from data_modules.annotations import GoodWindows
from data_modules.augmentation import Augmentation
from data_modules.clips import ClipDataset
from data_modules.data_info import DataInfo, describe
from data_modules.frame_reader import Reading
from data_modules.rare_clips import RareClips
from data_modules.seeding import check_step
from data_modules.sources import Split, Wanted, build_source, open_splits, was_split, why_no_clip
from genie.common.errors import UserError


class ClipData:
    """Clips of `num_frames` frames at `stride`, brought to `image_size` (H, W) by `fit`; keys as in the `data` group.

    `source`: the kind of data, a key of `SOURCES`; `videos`, `minari`, …: settings of these kinds. `root`: a
    folder with train.h5, val.h5 and test.h5; one or more files, which are then split (`split_episodes`, `holdout`:
    share of validation and of test); or the name or address of a data set. `val_clips`: maximum of clips in validation
    and in test. `fps`: of data without a rate, and the rate to which videos are resampled. `on_error`: "skip" what
    cannot be read, or "raise". `augmentation`: of training clips alone. `quality`, `min_quality`, `quality_splits`: a
    filter by scores (`GoodWindows`). `past_end`: frames of a training clip that may lie after the end of its episode
    (`after_end`), at most two fewer than it has. `actions`: how recorded actions are read (`ActionOptions`).
    `name` and `recorder`: for the message that names the command that records missing files. Raises UserError in
    `setup` for files that are missing, damaged, disagree, or too short for a clip.
    """

    def __init__(
        self,
        root: str,
        image_size: tuple[int, int],
        num_frames: int,
        batch_size: int,
        stride: int = 1,
        val_batch_size: int | None = None,
        val_clips: int | None = 256,
        num_workers: int = 0,
        in_memory: bool = False,
        seed: int = 0,
        fps: float | None = None,
        holdout: float = 0.1,
        name: str | None = None,
        recorder: dict | None = None,
        source: str = "episodes",
        fit: str = "squeeze",
        on_error: str = "raise",
        videos: dict | None = None,
        minari: dict | None = None,
        stream: dict | None = None,
        lerobot: dict | None = None,
        webdataset: dict | None = None,
        augmentation: dict | None = None,
        quality: str | None = None,
        min_quality: float | None = None,
        quality_splits: Sequence[str] = ("train",),
        past_end: int = 0,
        actions: dict | None = None,
        **unknown,
    ):
        if unknown:
            raise UserError(
                f"there is no key data.{next(iter(unknown))}: conf/data/episodes.yaml has those that there are"
            )
        self.root = root if "://" in str(root) else Path(root)  # a path has no two slashes
        self.image_size = (image_size[0], image_size[1])
        self.num_frames, self.stride, self.fps = num_frames, stride, fps
        self.batch_size, self.val_batch_size = batch_size, val_batch_size or batch_size
        self.val_clips, self.holdout, self.seed = val_clips, holdout, seed
        self.num_workers, self.past_end = num_workers, min(past_end, max(0, num_frames - 2))
        self.name, self.recordable = name, recorder is not None and source == "episodes"
        self.on_error, self.augmentation = on_error, Augmentation(augmentation)
        self.good = GoodWindows(quality, min_quality, quality_splits)
        self.actions = ActionOptions.of(actions)
        reading = Reading(self.image_size, fit, fps, in_memory, on_error, self.actions.of_files)
        groups = {"videos": videos, "minari": minari, "stream": stream, "lerobot": lerobot, "webdataset": webdataset}
        self.source = build_source(source, reading, groups)
        self.splits: dict[str, Split] = {}
        self.datasets: dict[str, ClipDataset] = {}
        self.info: DataInfo | None = None  # known after setup
        self.own_length = True  # whether clips are as long as data.num_frames says, and no other key
        self.kept: dict[str, tuple[int, int]] = {}  # split -> frames of sufficient quality, all frames; {}: no filter

    def setup(self, stage: str | None = None) -> None:
        """Opens the data, once. `stage` is ignored."""
        if self.datasets:
            return
        self.splits, self.kept = self.good.of(self.open(), self.root)
        for split in self.splits:
            self.datasets[split] = self.clips(split, self.num_frames, None if split == "train" else self.val_clips)
        clips = len(self.train_dataset)
        if clips < self.batch_size:
            raise UserError(
                f"{self.root} has {clips} training clips, fewer than data.batch_size={self.batch_size}: "
                f"give data.batch_size={clips}, or more recordings"
            )
        self.info = describe(self.train_dataset)
        if self.augmentation.active:
            self.augmentation.know(self.info)
            self.train_dataset.augmentation = self.augmentation

    def open(self) -> dict[str, Split]:
        """Readers and episodes of each split. Raises UserError where there is nothing to read."""
        if not self.splits:
            advice = f"record with `python -m genie.record data={self.name}`, or " if self.recordable else ""
            span = (self.num_frames - 1) * self.stride + 1
            splits = open_splits(self.source, self.root, self.holdout, span, advice)
            self.splits = with_clusters(splits, self.actions)
        return self.splits

    def draw_rare(self, share: float) -> None:
        """Training clips are drawn by `RareClips`; those of validation and test reach the ends of their episodes, where
        the terminal states are."""
        if self.past_end:
            raise UserError(
                f"data.past_end={self.past_end}: clips drawn around ends do not reach beyond them: leave it out"
            )
        self.train_dataset.rare = RareClips(self.train_dataset, share)
        for split in self.datasets.keys() - {"train"}:
            self.datasets[split] = self.clips(split, self.num_frames, self.val_clips, tails=True)

    def clips(self, split: str, num_frames: int, max_clips: int | None, tails: bool = False) -> ClipDataset:
        """The clips of `num_frames` frames of a split, all or at most `max_clips` evenly spaced ones; `tails` as in
        `ClipDataset`. Raises UserError where there is none."""
        reader, episodes = self.splits[split]
        fps = reader.fps or self.fps
        if fps is None:
            raise UserError(f"{reader.path} does not say its frames per second: give data.fps=")
        dataset = ClipDataset(
            reader, episodes, num_frames, self.stride, fps, self.seed, max_clips, self.on_error, tails,
            self.past_end if split == "train" else 0,
        )  # fmt: skip
        if len(dataset) == 0:
            wanted = f"{num_frames} frames at stride {self.stride} span {dataset.span}"
            why = self._why_no_clip(split, num_frames)
            raise UserError(f"no clip for {split} in {reader.path} at {fps:g} frames a second: {wanted}, and {why}")
        return dataset

    def _why_no_clip(self, split: str, num_frames: int) -> str:
        reader, episodes = self.splits[split]
        longest = int((episodes[:, 1] - episodes[:, 0]).max(initial=0))
        good, of = self.kept.get(split, (0, 0))
        if good < of:
            left = f"data.min_quality={self.good.min_quality} leaves {good} of {of} frames, at most {longest} in a row"
            return f"{left}: lower it, or data.num_frames"
        if num_frames != self.num_frames or not self.own_length:
            return f"its longest episode has {longest}"
        parts = {name: part for name, (_, part) in self.splits.items()}
        whole = (reader.episodes, reader.recordings) if was_split(self.splits) else None
        wanted = Wanted(num_frames, self.stride, self.holdout, self.batch_size)
        return why_no_clip(split, parts, whole, wanted)

    def teardown(self, stage: str | None = None) -> None:
        """Prints a line on stderr for every split with data that could not be read."""
        for split, dataset in self.datasets.items():
            if damage := str(dataset.damage):
                print(f"{split}: {damage}", file=sys.stderr, flush=True)

    @property
    def train_dataset(self) -> ClipDataset:
        return self.datasets["train"]

    @property
    def val_dataset(self) -> ClipDataset:
        return self.datasets["val"]

    @property
    def test_dataset(self) -> ClipDataset:
        if "test" not in self.datasets:
            raise UserError(f"there is no split to test on in {self.root}, such as test.h5 or a folder test")
        return self.datasets["test"]

    def check_step(self, world_size: int, accumulate: int) -> None:
        """Raises UserError where the training clips do not fill one step on `world_size` devices."""
        check_step(len(self.train_dataset), self.batch_size, world_size, accumulate)
