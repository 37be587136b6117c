"""Where does the attention go? One token of one frame: what it looks at in its frame, and in time at its place.

The dynamics is asked as in the first pass of generation: the past is known, all of the last frame is masked. The token
is one of the last frame of a model's window.

Dimension letters: `N` heads in maps and clips elsewhere, `T` frames, `S` tokens of one frame, `C H W` channels, pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.evaluation.attention_plot import plot_attention
from genie.evaluation.clips import Clips
from genie.evaluation.rollout import known_actions
from genie.evaluation.subject import LeftOut, Subject, Trained
from genie.models import VideoTokenizer
from genie.models.attention_maps import AttentionMaps, has_attention_maps, recorded_attention
from genie.models.patches import Patches
from genie.models.st_transformer import STTransformer

SHOWN_BLOCKS = 4  # of a model, at most
HEADS = ("mean", "separate")
MODELS = ("tokenizer", "dynamics")


@dataclass(frozen=True)
class AttentionSettings:
    """`token`: "auto" (the first object that the data record, else "moving"), "moving" (where most changes), the name
    of a recorded object, or [row, column] of the grid. `heads`: their "mean" in space, or "separate" pictures.

    Raises UserError for heads that cannot be shown so.
    """

    token: str | list[int]
    heads: str

    def __post_init__(self) -> None:
        if self.heads not in HEADS:
            raise UserError(f"attention.heads={self.heads}: choose one of {', '.join(HEADS)}")


@dataclass(frozen=True)
class Row:
    """One line of the picture: `label`, `space` [N, rows, columns] and `time` [N, T] of a block."""

    label: str
    space: Tensor
    time: Tensor


def draw_attention(
    subject: Subject, names: tuple[str, ...], clips: Clips, settings: AttentionSettings, path: Path
) -> None:
    """Writes the picture of the models `names` out of `MODELS` (of the tokenizer its encoder, or its decoder where the
    encoder has none to show); those that are not trained yet, and tokenizers without maps, are not in it. Raises
    LeftOut where none is, UserError for a token that is not there."""
    models = {"tokenizer": tokenizer_rows, "dynamics": dynamics_rows}
    pictures, reason = [], None
    for name in names:
        try:
            pictures.append(models[name](subject, clips, settings))
        except LeftOut as error:
            reason = error
    if not pictures:
        raise reason
    plot_attention(pictures, settings.heads == "mean", path)


def tokenizer_rows(subject: Subject, clips: Clips, settings: AttentionSettings) -> tuple[Tensor, list[int], list[Row]]:
    """The frames [T, C, H, W] that the tokenizer saw, (left, top, side) of the token in pixels, and its lines."""
    tokenizer = subject.tokenizer
    model = tokenizer.model
    name = next((part for part in ("encoder", "decoder") if has_attention_maps(getattr(model, part))), None)
    if name is None:
        raise LeftOut("neither encoder nor decoder of the tokenizer attends to space and time in turn")
    _, place, frames = _chosen(tokenizer, clips, settings)
    transformer = getattr(model, name)
    with recorded_attention(transformer, place, blocks=_shown(transformer)) as maps, torch.no_grad():
        model(frames)
    return _picture(model, name, transformer, frames, place, maps)


def dynamics_rows(subject: Subject, clips: Clips, settings: AttentionSettings) -> tuple[Tensor, list[int], list[Row]]:
    """The same of the dynamics, which guesses the last frame from those before it."""
    world = subject.world
    clip, place, frames = _chosen(Trained(world.tokenizer, world.window), clips, settings)
    tokens = world.tokenizer.encode(frames)
    tokens[:, -1] = world.dynamics.mask_token
    actions = known_actions(subject, clips.select(torch.tensor([clip])), tokens.shape[1] - 1)
    transformer = world.dynamics.transformer
    with recorded_attention(transformer, place, blocks=_shown(transformer)) as maps:
        world.dynamics.hidden(tokens, actions)
    return _picture(world.tokenizer, "dynamics", transformer, frames, place, maps)


def choose_token(clips: Clips, frame: int, patches: Patches, choice: str | list[int]) -> tuple[int, int]:
    """Clip and place in the grid (row by row) of the token at `frame` ≥ 1 that `choice` names (`AttentionSettings`).

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


def _chosen(tokenizer: Trained, clips: Clips, settings: AttentionSettings) -> tuple[int, int, Tensor]:
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
) -> tuple[Tensor, list[int], list[Row]]:
    rows, columns = transformer.grid
    side = tokenizer.patches.patch_size
    lines = [
        Row(
            f"{name}, block {block + 1} of {len(transformer.blocks)}",
            maps.space[block][:, -rows * columns :].unflatten(-1, (rows, columns)),
            maps.time[block],
        )
        for block in maps.space
    ]
    return frames[0].cpu(), [place % columns * side, place // columns * side, side], lines
