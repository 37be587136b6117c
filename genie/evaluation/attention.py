"""Attention maps: what one token of a frame attends to, within its frame and in time at its place.

The token is one of the last frame of a model's window. The dynamics is run as in the first pass of generation: the past
is known, all of the last frame is masked.

Dimension letters: `N` heads in maps and clips elsewhere, `T` frames, `S` tokens of one frame, `C H W` channels, pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from data_modules.held_out_clips import Clips
from genie.common.errors import UserError
from genie.common.media import to_bytes
from genie.common.plots import save_figure, whole_ticks
from genie.common.settings.training import Attention
from genie.evaluation.part import Evaluation, Part
from genie.evaluation.rollout import known_actions
from genie.evaluation.trained_run import LeftOut, Trained, TrainedRun
from genie.models import VideoTokenizer
from genie.models.attention_maps import AttentionMaps, has_attention_maps, recorded_attention
from genie.models.patches import Patches
from genie.models.st_transformer import STTransformer

SHOWN_BLOCKS = 4  # of a model, at most
MODELS = ("tokenizer", "dynamics")


@dataclass(frozen=True)
class MapRow:
    """One line of the picture: `label`, `space` [N, rows, columns] and `time` [N, T] of a block."""

    label: str
    space: Tensor
    time: Tensor


def draw_attention(run: TrainedRun, names: tuple[str, ...], clips: Clips, settings: Attention, path: Path) -> None:
    """Writes the picture of the models `names` out of `MODELS` (of the tokenizer its encoder, or its decoder where the
    encoder has no maps), without those that are not trained yet and tokenizers without maps. Raises LeftOut where none
    is left, UserError for a token that does not exist."""
    models = {"tokenizer": tokenizer_rows, "dynamics": dynamics_rows}
    pictures, reason = [], None
    for name in names:
        try:
            pictures.append(models[name](run, clips, settings))
        except LeftOut as error:
            reason = error
    if not pictures:
        raise reason
    plot_attention(pictures, settings.heads == "mean", path)


def tokenizer_rows(run: TrainedRun, clips: Clips, settings: Attention) -> tuple[Tensor, list[int], list[MapRow]]:
    """The frames [T, C, H, W] that the tokenizer saw, (left, top, side) of the token in pixels, and its lines."""
    tokenizer = run.tokenizer
    model = tokenizer.model
    name = next((part for part in ("encoder", "decoder") if has_attention_maps(getattr(model, part))), None)
    if name is None:
        raise LeftOut("neither encoder nor decoder of the tokenizer attends to space and time in turn")
    _, place, frames = _chosen(tokenizer, clips, settings)
    transformer = getattr(model, name)
    with recorded_attention(transformer, place, blocks=_shown(transformer)) as maps, torch.no_grad():
        model(frames)
    return _picture(model, name, transformer, frames, place, maps)


def dynamics_rows(run: TrainedRun, clips: Clips, settings: Attention) -> tuple[Tensor, list[int], list[MapRow]]:
    """The same of the dynamics, which predicts the last frame from those before it."""
    world = run.world
    clip, place, frames = _chosen(Trained(world.tokenizer, world.window), clips, settings)
    tokens = world.tokenizer.encode(frames)
    tokens[:, -1] = world.dynamics.mask_token
    actions = known_actions(run, clips.select(torch.tensor([clip])), tokens.shape[1] - 1)
    transformer = world.dynamics.transformer
    with recorded_attention(transformer, place, blocks=_shown(transformer)) as maps:
        world.dynamics.hidden(tokens, actions)
    return _picture(world.tokenizer, "dynamics", transformer, frames, place, maps)


def choose_token(clips: Clips, frame: int, patches: Patches, choice: str | list[int]) -> tuple[int, int]:
    """Clip and place in the grid (row by row) of the token at `frame` ≥ 1 that `choice` names (`Attention`).

    Raises UserError where there is none.
    """
    rows, columns = patches.grid
    names = clips.info.object_names if clips.objects is not None else []
    if not isinstance(choice, str):
        if len(choice) != 2 or not (0 <= choice[0] < rows and 0 <= choice[1] < columns):
            raise UserError(f"attention.token={choice} is not a row below {rows} and a column below {columns}")
        return 0, choice[0] * columns + choice[1]
    if choice not in ("auto", "moving", *names):
        raise UserError(f"attention.token={choice}: choose auto, moving, [row, column]{', '.join(['', *names])}")
    if choice != "moving" and names:
        number = 0 if choice == "auto" else names.index(choice)
        places = clips.objects[:, : frame + 1, number]  # [N, T, 2]
        seen = places.isfinite().all(-1)
        clip = int((seen.sum(1) * seen[:, frame]).argmax())  # where it is in sight for longest
        if seen[clip, frame]:
            column, row = (places[clip, frame].round().long() // patches.patch_size).tolist()
            return clip, min(max(row, 0), rows - 1) * columns + min(max(column, 0), columns - 1)
        if choice != "auto":
            raise UserError(f"attention.token={choice}: no clip shows it in frame {frame + 1}")
    frames = clips.floats()[:, frame - 1 : frame + 1]
    change = patches.cut((frames[:, 1:] - frames[:, :1]).abs())[:, 0].sum(-1)  # [N, S]
    clip, place = divmod(int(change.argmax()), change.shape[1])
    return clip, place


def _chosen(tokenizer: Trained, clips: Clips, settings: Attention) -> tuple[int, int, Tensor]:
    """Clip, place, and the frames [1, T, C, H, W] that a model of this window sees, on its device."""
    count = min(tokenizer.window, clips.frames.shape[1])
    clip, place = choose_token(clips, count - 1, tokenizer.model.patches, settings.token)
    device = next(tokenizer.model.parameters()).device
    return clip, place, clips.floats()[clip : clip + 1, :count].to(device)


def _shown(transformer: STTransformer) -> list[int]:
    """Blocks evenly spaced from the first to the last."""
    last = len(transformer.blocks) - 1
    return sorted({round(last * index / (SHOWN_BLOCKS - 1)) for index in range(SHOWN_BLOCKS)})


def _picture(
    tokenizer: VideoTokenizer, name: str, transformer: STTransformer, frames: Tensor, place: int, maps: AttentionMaps
) -> tuple[Tensor, list[int], list[MapRow]]:
    rows, columns = transformer.grid
    side = tokenizer.patches.patch_size
    lines = [
        MapRow(
            f"{name}, block {block + 1} of {len(transformer.blocks)}",
            maps.space[block][:, -rows * columns :].unflatten(-1, (rows, columns)),
            maps.time[block],
        )
        for block in maps.space
    ]
    return frames[0].cpu(), [place % columns * side, place // columns * side, side], lines


def plot_attention(pictures: list[tuple[Tensor, list[int], list]], mean: bool, path: Path) -> None:
    """For every model the frames [T, C, H, W] that it saw, the square (left, top, side) of the token, and a line for
    each of its blocks (`MapRow`): weights in space over the last frame, their `mean` over heads or each by itself, and
    weights in time as bars, with a dot for each head."""
    num_rows = sum(1 + len(rows) for _, _, rows in pictures)
    num_maps = 1 if mean else max(row.space.shape[0] for _, _, rows in pictures for row in rows)
    width, height = 2.2 * num_maps + 5, 2.3 * num_rows
    figure = Figure(figsize=(width, height))
    # A layout engine would measure every text several times, which takes longer than drawing.
    margins = {"left": 0.3 / width, "right": 1 - 0.1 / width, "bottom": 0.5 / height, "top": 1 - 0.1 / height}
    places = figure.add_gridspec(num_rows, num_maps + 2, **margins, hspace=0.4, wspace=0.15)
    line = 0
    for frames, square, rows in pictures:
        _frames(figure.add_subplot(places[line, :]), frames, square)
        for row in rows:
            line += 1
            maps = row.space.mean(0, keepdim=True) if mean else row.space
            for number, weights in enumerate(maps):
                axes = figure.add_subplot(places[line, number])
                _overlay(axes, frames[-1], weights, square)
                title = "mean over heads" if mean else f"head {number + 1}"
                axes.set_title(f"{title}, at most {weights.max():.0%}", fontsize="small")
                axes.set_ylabel(row.label if number == 0 else "", fontsize="small")
            axes = figure.add_subplot(places[line, num_maps:])
            when = range(1 - len(frames), 1)
            axes.bar(when, row.time.mean(0).tolist(), color="0.7")
            for head in row.time:
                axes.plot(when, head.tolist(), ".", markersize=4)
            axes.set(xlabel="frame (0: that of the token)", ylim=(0, 1))
            whole_ticks(axes)
        line += 1
    save_figure(figure, path)


def _frames(axes: Axes, frames: Tensor, square: list[int]) -> None:
    gap = frames.new_ones(*frames.shape[1:3], 2)
    row = torch.cat([part for frame in frames for part in (frame, gap)], dim=-1)
    axes.imshow(to_bytes(row))
    for number in range(len(frames)):
        _mark(axes, [square[0] + number * (frames.shape[-1] + 2), *square[1:]])
    axes.set_axis_off()


def _overlay(axes: Axes, frame: Tensor, weights: Tensor, square: list[int]) -> None:
    """Weights [rows, columns] of patches over a frame [C, H, W], from 0 (dark) to the largest (bright)."""
    height, width = (count * square[2] for count in weights.shape)
    axes.imshow(to_bytes(frame.mean(0, keepdim=True)), alpha=0.5)
    axes.imshow(weights.numpy(), alpha=0.6, cmap="magma", vmin=0, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set(xlim=(-0.5, frame.shape[-1] - 0.5), ylim=(frame.shape[-2] - 0.5, -0.5), xticks=[], yticks=[])
    _mark(axes, square)


def _mark(axes: Axes, square: list[int]) -> None:
    left, top, side = square
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor="cyan", linewidth=1.2))


def _measure(evaluation: Evaluation) -> dict:
    settings = evaluation.config.attention
    draw_attention(evaluation.run, MODELS, evaluation.clips, settings, evaluation.folder / "attention.png")
    return {}


ATTENTION = Part("attention", _measure, needs=("genie",))
