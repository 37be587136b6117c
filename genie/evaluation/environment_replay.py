"""ΔPSNR of the replayed environment: the value of a perfect world model.

The episode of each clip is played again from its seed to the last given frame. From there the recorded actions lead to
the recorded frames, bit for bit (this is checked), and random actions to the frames under those.

Dimension letters: `N` clips, `P` frames of the prompt, `n` horizon, `C H W` channels and pixels.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from data_modules.clips import ClipDataset
from data_modules.environments.episode_replay import EpisodeReplay
from data_modules.formats.episode_reader import EpisodeReader
from data_modules.frame_reader import episodes_at
from data_modules.held_out_clips import Clips
from genie.common.errors import UserError
from genie.datasets.replay import Recorded
from genie.evaluation.part import Evaluation, Part
from genie.evaluation.rollout import Deltas, RolloutSettings, clip_seeds, delta_psnr_rows, random_actions
from genie.evaluation.tokenizer import reconstruct
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.metrics.metric_info import MetricInfo

OTHER_FRAMES = (
    "the environment, replayed with the recorded actions, shows other frames than the data hold: they were recorded "
    "with other settings or by another version"
)


def evaluate_simulator(run: TrainedRun, clips: Clips, split: str, settings: RolloutSettings) -> dict[str, float]:
    """ΔPSNR (`Deltas`) of the replayed environment, `t<t>_simulator…`, and where the run has a tokenizer
    `t<t>_simulator_tokens…`, with all frames drawn by the tokenizer: the value of a perfect dynamics. And the number of
    clips, `simulator_clips`.

    Raises LeftOut where the data's environment is not known, cannot be branched, or shows other frames.
    """
    if not settings.times:
        raise LeftOut("delta_psnr.t names no frame")
    recorded = recorded_environment(clips, split, run.data_config)
    if not recorded.environment.can_branch:
        raise LeftOut(f"{recorded.environment.id} cannot be brought to a frame again: only Atari environments can")
    raw, drawn = Deltas(settings.times, settings.num_seeds), Deltas(settings.times, settings.num_seeds)
    tokenizer = run.tokenizer if "tokenizer" in run.checkpoints else None
    prompt, count = settings.prompt_frames, max(settings.times)
    randoms = _random_videos(recorded, clips, settings, count)
    for numbers, batch in clips.numbered_batches():
        frames = batch.floats()[:, : prompt + count]
        target = frames[:, prompt:]
        seen = reconstruct(tokenizer.model, frames, tokenizer.window)[0][:, prompt:] if tokenizer else None
        for draw in range(settings.num_seeds):
            random = randoms[draw, numbers.start : numbers.stop].float() / 255
            raw.update(draw, target, target, random)
            if tokenizer is not None:
                other = torch.cat([frames[:, :prompt], random], dim=1)
                other = reconstruct(tokenizer.model, other, tokenizer.window)[0][:, prompt:]
                drawn.update(draw, target, seen, other)
    figures = raw.figures("_simulator") | (drawn.figures("_simulator_tokens") if tokenizer else {})
    return {**figures, "simulator_clips": len(clips)}


def recorded_environment(clips: Clips, split: str, data: dict) -> Recorded:
    """The file that clips are of, with the environment that can play it again; `data`: the group of that name.

    Raises LeftOut where there is none.
    """
    reader = clips.source.reader
    if clips.actions is None or not isinstance(reader, EpisodeReader) or not reader.image_size:
        raise LeftOut("no environment is known that recorded these data")
    if reader.ids is not None and not reader.ids.unchanged:
        raise LeftOut("data.actions gives the actions other ids than the environment has")
    try:
        return Recorded(split, reader.path, data)
    except UserError as error:
        raise LeftOut(f"the environment of the data cannot be made: {error}") from error


def _random_videos(recorded: Recorded, clips: Clips, settings: RolloutSettings, count: int) -> Tensor:
    """uint8 [draws, N, count, C, H, W]: the frames under random actions after each prompt; a game that they end stands
    still. Raises LeftOut where the recorded actions do not lead to the recorded frames."""
    dataset, prompt = clips.source, settings.prompt_frames
    stride, numbers = dataset.stride, range(len(clips))
    draws = [
        random_actions(clips.info.num_actions, count, clip_seeds(settings.seed, numbers, draw)).numpy()
        for draw in range(settings.num_seeds)
    ]
    videos = []
    for clip, (replay, start) in enumerate(_replays(recorded, dataset)):
        at = start + (prompt - 1) * stride
        replay.go_to(at)
        true = dataset.reader.resize(replay.branch(replay.actions[at : at + count * stride], stride))
        if not np.array_equal(true.transpose(0, 3, 1, 2), clips.frames[clip, prompt : prompt + count].numpy()):
            raise LeftOut(OTHER_FRAMES)
        held = [draw[clip].repeat(stride) for draw in draws]  # an action of the clip is held for `stride` decisions
        videos.append([dataset.reader.resize(replay.branch(actions, stride)) for actions in held])
    return torch.from_numpy(np.array(videos)).permute(1, 0, 2, 5, 3, 4)


def _replays(recorded: Recorded, dataset: ClipDataset) -> Iterator[tuple[EpisodeReplay, int]]:
    """For each clip the replay of its episode, and the clip's first frame in it. Clips of one episode share a replay:
    they come in the order of time."""
    reader, current, replay = dataset.reader, -1, None
    for index in range(len(dataset)):
        row, end = dataset.location(index)
        episode = int(episodes_at(reader, row))
        start = int(reader.episodes[episode, 0])
        if episode != current:
            actions, current = reader.column("actions", start, end), episode
            replay = EpisodeReplay(recorded.environment, int(recorded.seeds[episode]), actions)
        yield replay, row - start


def _measure(evaluation: Evaluation) -> dict:
    config = evaluation.config
    settings = RolloutSettings.of(config)
    return {"delta_psnr": evaluate_simulator(evaluation.run, evaluation.clips, config.split, settings)}


SIMULATOR = Part(
    "simulator",
    _measure,
    needs=("genie",),
    metrics=(MetricInfo("delta_psnr.simulator_clips", "clips replayed in the true simulator", digits=0),),
    rows=delta_psnr_rows,
)
