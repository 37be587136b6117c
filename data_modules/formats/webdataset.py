"""Tar shards in the layout of WebDataset, with a video in each sample and what was done in it, read where they lie.

A sample is a recording: a video (`0001.mp4`), and its actions where they are recorded, the first of `0001.actions.csv`,
`0001.actions.jsonl`, `0001.actions.npy` and `"actions"` of `0001.json` (`action_log.py`). Clips are read at any place,
and so in the order of every other kind of data: shuffled over all shards.
"""

from collections import Counter
from pathlib import Path

from data_modules.formats.action_log import ActionLog, BadActions, read_log
from data_modules.formats.shards import report_skipped
from data_modules.formats.tar_index import Sample, index_shards
from data_modules.formats.video_file import TarMember, VideoSource
from data_modules.formats.videos import VIDEO_SUFFIXES, VideoReader, Videos
from data_modules.frame_reader import Reading
from genie.common.errors import UserError

ACTIONS = ("actions.csv", "actions.jsonl", "actions.npy", "json")  # of a sample, the first that it has


class TarShards:
    """The `Source` of tar shards; the keys of the groups `data.videos` and `data.webdataset`. video: which of the
    files of a sample, "front.mp4"; None: the only video there is."""

    what, suffixes = "tar shard", (".tar",)

    def __init__(self, reading: Reading, videos: Videos, video: str | None):
        self.reading, self.videos, self.video = reading, videos, video and video.lower()

    def open(self, path: Path, files: list[Path]) -> VideoReader:
        folder = path if path.is_dir() else path.parent
        found = index_shards(folder, files)
        damaged = [
            f"{shard} cannot be read ({problem})" for shard, problem in found.items() if isinstance(problem, str)
        ]
        if damaged and (self.reading.on_error == "raise" or len(damaged) == len(files)):
            more = f"; {len(damaged)} of {len(files)} shards in {path} cannot be read" if len(files) > 1 else ""
            raise UserError(damaged[0] + more)
        if damaged:
            report_skipped(path, len(files), damaged, "shards")
        samples = [sample for shard in found.values() if not isinstance(shard, str) for sample in shard]
        chosen = self._videos(path, samples)
        logs: dict[VideoSource, ActionLog | str | None] = {video: self._log(sample) for sample, video in chosen}
        return self.videos.read(path, folder, logs)

    def _videos(self, path: Path, samples: list[Sample]) -> list[tuple[Sample, TarMember]]:
        """The samples with a video. Raises UserError where there is none, or it is not known which."""
        kinds = Counter(kind for sample in samples for kind in sample.files)
        videos = [kind for kind in kinds if f".{kind}".endswith(VIDEO_SUFFIXES)]
        if self.video is not None and self.video not in videos or not videos:
            named = f"data.webdataset.video={self.video} is not one of" if self.video else "there is no video among"
            listed = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(8))
            raise UserError(f"{named} the files of the {len(samples)} samples in {path}: {listed}")
        several = next((sample for sample in samples if len(sample.files.keys() & set(videos)) > 1), None)
        if self.video is None and several is not None:
            among = sorted(several.files.keys() & set(videos))
            raise UserError(
                f"the sample {several.key} in {path} has the videos {', '.join(among)}: give "
                f"data.webdataset.video={among[0]}"
            )
        wanted = videos if self.video is None else [self.video]
        return [(one, one.files[kind]) for one in samples for kind in wanted if kind in one.files]

    def _log(self, sample: Sample) -> ActionLog | str | None:
        """The actions of a sample; the problem, where they cannot be read; None where there are none."""
        member = next((sample.files[kind] for kind in ACTIONS if kind in sample.files), None)
        if member is None or not self.videos.with_actions:
            return None
        try:
            return read_log(member.name, str(member), member.read())
        except BadActions as error:
            return str(error)
        except OSError as error:
            return f"cannot read {member}: {error.strerror or error}"
