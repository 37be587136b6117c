"""Pictures of the concept pages, of the world that comes with the package: `python -m docs.pictures` (a minute).

docs/images/concept_*.png: the tokens of a frame, the latent actions between frames, what a training step of the
dynamics hides, and the passes in which a frame is generated; attention and actions are drawn by `genie.evaluate`.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from data_modules.held_out_clips import Clips, load_clips
from genie.common.media import to_bytes
from genie.common.plots import save_figure
from genie.common.settings.training import Attention
from genie.common.shipped import located
from genie.evaluation.action_grid import GridSettings, draw_action_grid
from genie.evaluation.attention import draw_attention
from genie.evaluation.latent_actions import evaluate_lam, latent_labels, true_names
from genie.evaluation.trained_run import TrainedRun
from genie.stages.masking import mask_after_clean, mask_tokens
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel

RUN = "pretrained/pong"
FOLDER = Path("docs", "images")
CLIP, FIRST = 9, 4  # of the test split: a rally in which the player moves
HIDDEN = 0.55  # the grey of a token that is not known


def draw_tokens(world: WorldModel, frames: Tensor, path: Path) -> None:
    """Two frames [2, C, H, W], their tokens, and what is drawn from these; tokens that change are framed."""
    tokens = world.tokenizer.encode(frames[None])
    drawn = world.tokenizer.decode(tokens)[0]
    tokens, grid = tokens[0], world.tokenizer.patches.grid
    common = int(tokens.flatten().bincount().argmax())
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    for row, axes in enumerate(figure.subplots(2, 3)):
        for one, picture, title in zip(
            axes[::2], (frames, drawn), (("frame", "next frame")[row], "drawn from its tokens"), strict=True
        ):
            show(one, picture[row], title)
        show(axes[1], torch.full_like(frames[row], 0.97), "its tokens")
        for place, token in enumerate(tokens[row].tolist()):
            top, left = (8 * part for part in divmod(place, grid[1]))
            plain = token == common
            axes[1].text(
                left + 3.5, top + 3.5, token, ha="center", va="center", fontsize=7, color="0.7" if plain else "black"
            )
            if row and token != tokens[0, place]:
                mark(axes[1], left, top)
    save_figure(figure, path)


def draw_actions(world: WorldModel, frames: Tensor, names: list[str], path: Path) -> None:
    """Frames [T, C, H, W] in a row; between two of them the latent action that was found, and what was pressed."""
    assert world.lam is not None
    found = world.lam.encode(frames[None])[0].tolist()
    figure = Figure(figsize=(10, 1.9), layout="constrained")
    for number, axes in enumerate(figure.subplots(1, len(frames))):
        show(axes, frames[number], "")
        if number < len(found):
            axes.set_xlabel(f"      → code {found[number]}\n      ({names[number]})", fontsize=9)
    save_figure(figure, path)


def draw_masks(world: WorldModel, frames: Tensor, path: Path) -> None:
    """What a training step hides of a clip [T, C, H, W]: tokens of all frames but the first, or of one frame after
    another behind a past that is whole."""
    tokens = world.tokenizer.encode(frames[None])
    seeds, codes = torch.tensor([3]), world.dynamics.mask_token
    masks = {
        "masked": mask_tokens(tokens, seeds, codes).mask[0],
        "clean": mask_after_clean(tokens, seeds, codes).mask[0],
    }
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    for (name, mask), row in zip(masks.items(), figure.subplots(2, len(frames)), strict=True):
        for number, axes in enumerate(row):
            show(axes, hidden(world, frames[number], mask[number]), "")
            axes.set_ylabel(f"context={name}" if number == 0 else "", fontsize=9)
    save_figure(figure, path)


def draw_passes(world: WorldModel, frames: Tensor, path: Path) -> None:
    """A frame behind one of the prompts [N, T, C, H, W] after each pass, by MaskGIT's schedule and by the adaptive
    sampler, for which that frame is the hardest of all."""
    adaptive = world.sampler
    _, step = world.step(world.reset(frames, seed=1), torch.ones(len(frames), dtype=torch.int64))
    frames = frames[int(step.passes.argmax())]
    samplers = {"maskgit, 6 steps": Sampler(6, 0.8), "adaptive, 0.5 nats": adaptive}
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    for (name, sampler), row in zip(samplers.items(), figure.subplots(2, 6), strict=True):
        passes, frame = generated(world, sampler, frames)
        for number, axes in enumerate(row):
            axes.set_axis_off()
            if number < len(passes):
                show(axes, hidden(world, frame, passes[number]), f"pass {number + 1}")
                axes.set_axis_on()
            axes.set_ylabel(name if number == 0 else "", fontsize=9)
    world.sampler = adaptive
    save_figure(figure, path)


def generated(world: WorldModel, sampler: Sampler, frames: Tensor) -> tuple[list[Tensor], Tensor]:
    """Which tokens bool [S] are unknown after each pass, and the frame [C, H, W]."""
    unknown = []

    class Recording(Sampler):
        def sample(self, predict, noise, num_tokens, mask_token):
            def told(tokens: Tensor, asked: Tensor | None) -> Tensor:
                unknown.append(tokens[0] == mask_token)
                return predict(tokens, asked)

            return super().sample(told, noise, num_tokens, mask_token)

    world.sampler = Recording(sampler.steps, sampler.temperature, sampler.order, sampler.entropy_bound)
    state = world.reset(frames[None], seed=1)
    _, step = world.step(state, torch.tensor([1]))
    assert step.observation is not None
    return [*unknown[1:], torch.zeros_like(unknown[0])], step.observation[0]


def hidden(world: WorldModel, frame: Tensor, mask: Tensor) -> Tensor:
    """A frame [C, H, W] with the patches of `mask` bool [S] in grey."""
    patches = world.tokenizer.patches
    cover = mask.view(patches.grid).repeat_interleave(patches.patch_size, 0).repeat_interleave(patches.patch_size, 1)
    return torch.where(cover[: patches.height, : patches.width], torch.tensor(HIDDEN), frame)


def show(axes: Axes, frame: Tensor, title: str) -> None:
    axes.imshow(np.asarray(to_bytes(frame)), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)


def mark(axes: Axes, left: int, top: int) -> None:
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), 8, 8, fill=False, edgecolor="tab:orange", linewidth=1.5))


def evaluated(clips: Clips) -> None:
    """What `genie.evaluate` draws: effects of the actions, a row for each of them, attention of the dynamics."""
    run = TrainedRun(located(RUN), torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        confusion = evaluate_lam(run.lam, clips, Path(folder), fps=5)["confusion"]
        labels = latent_labels(run.world.num_actions, confusion, true_names(clips))
        draw_action_grid(run, clips.select(torch.tensor([CLIP])), labels, GridSettings(4, 12, 0, 5), Path(folder))
        for name, kept in {"lam_effects.png": "concept_effects.png", "action_grid.png": "concept_actions.png"}.items():
            shutil.copyfile(Path(folder, name), FOLDER / kept)
    ball = Attention(token="ball", heads="mean")
    draw_attention(run, ("dynamics",), clips, ball, FOLDER / "concept_attention.png")


def main() -> None:
    torch.set_num_threads(1)
    world = WorldModel.load(RUN)
    clips = load_clips(world.config["data"], None, "test", 32, 16, 1)
    frames, pressed = clips.floats()[CLIP, FIRST:], clips.actions
    assert pressed is not None
    names = [true_names(clips)[number] for number in pressed[CLIP, FIRST:].tolist()]
    draw_tokens(world, frames[:2], FOLDER / "concept_tokens.png")
    draw_actions(world, frames[: world.window], names, FOLDER / "concept_codes.png")
    draw_masks(world, frames[: world.window], FOLDER / "concept_masks.png")
    draw_passes(world, clips.floats()[:, :4], FOLDER / "concept_passes.png")
    evaluated(clips)


if __name__ == "__main__":
    main()
