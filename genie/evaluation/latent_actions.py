"""Latent action model: predictability of the next frame, agreement with true actions, effects of each action.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels, `A` numbers of an action.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_modules.held_out_clips import Clips, in_windows
from genie.common.media import (
    BACKGROUND_COLOR,
    CONTEXT_COLOR,
    PREDICTED_COLOR,
    border,
    enlarge,
    grid,
    scale_to,
    text_size,
    to_bytes,
    write_mp4,
    write_png,
)
from genie.common.plots import plot_confusion
from genie.evaluation.part import Evaluation, Part, Row, compared, number, percent, usage
from genie.evaluation.tokenizer import PSNR, codebook_metrics
from genie.evaluation.trained_run import LeftOut, Trained
from genie.metrics.actions import ActionAlignment, ActionEffects, CodeUsage, ExplainedActions, grouped
from genie.metrics.metric_info import HIGHER, Definition, MetricInfo
from genie.metrics.psnr import frame_psnr, update_frame_psnr
from genie.world.protocol import World

BRIGHTEST = 0.999  # quantile of the changes that gets the full range: one pixel must not make all others grey
SHOWN = 4  # clips in the video
PAST = 2  # past frames in the video; the model sees all of its window


def predict(lam: Trained, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted frames 1…T-1 [B, T-1, C, H, W] in [0, 1] and actions int64 [B, T-1] of frames [B, T, …], on the CPU."""

    def function(part: Tensor) -> tuple[Tensor, Tensor]:
        output = lam.model(part)
        return output.prediction, output.actions

    device = next(lam.model.parameters()).device
    prediction, actions = in_windows(function, frames.to(device), lam.window)
    return prediction.cpu(), actions.cpu()


def infer_actions(lam: Trained, frames: Tensor) -> Tensor:
    """Latent actions int64 [B, T-1] of frames [B, T, C, H, W] in [0, 1], on the model's device."""
    device = next(lam.model.parameters()).device
    return in_windows(lambda part: (lam.model.encode(part),), frames.to(device), lam.window)[0]


def actions_between(world: World, clips: Clips) -> Tensor:
    """What the world takes between the observations of clips: [N, T-1] or [N, T-1, A], on its device.

    Raises LeftOut where they are neither recorded nor inferred by a latent action model.
    """
    if world.takes_environment_actions:
        if clips.actions is None:
            raise LeftOut("the world takes true actions and the data record none")
        return clips.actions[:, :-1].to(world.device)
    if world.lam is None:
        raise LeftOut("there is no latent action model that this dynamics was trained with")
    return infer_actions(Trained(world.lam, world.window), clips.floats())


def evaluate_lam(
    lam: Trained, clips: Clips, folder: Path, fps: float, groups: dict[str, list[str]] | None = None
) -> dict:
    """Metrics of all transitions: `psnr` of the next frame (dB, pooled) with both baselines, `codebook_usage`,
    `codebook_perplexity`; with true actions `action_nmi`, `action_accuracy` (best one-to-one matching),
    `action_accuracy_majority` (of always naming the most common one), the table `confusion` (rows: latent actions) and
    the `matching`, the number of the true action for each latent one (-1: none). With `groups` of true actions of one
    effect (all others are a group, too) `group_nmi`, `group_accuracy`, `group_accuracy_majority` (see `grouped`). With
    continuous true actions `action_explained`, and `explained_by_number`.

    Writes lam.mp4 (at `fps`), lam_effects.png and, with true actions, lam_confusion.png.
    """
    psnr = frame_psnr("psnr", "psnr_copy_last", "psnr_background")
    codes = CodeUsage(lam.model.num_actions)
    effects = {"latent": ActionEffects(lam.model.num_actions, tuple(clips.frames.shape[2:]))}
    alignment = explained = None
    if clips.actions is not None and clips.info.num_actions:
        alignment = ActionAlignment(lam.model.num_actions, clips.info.num_actions)
        effects["true"] = ActionEffects(clips.info.num_actions, tuple(clips.frames.shape[2:]))
    elif clips.actions is not None and clips.info.action_size:
        explained = ExplainedActions(lam.model.num_actions, clips.info.action_size)
    for batch in clips.batches():
        frames = batch.floats()
        prediction, actions = predict(lam, frames)
        update_frame_psnr(psnr, prediction, frames, clips.background)
        codes.update(actions)
        effects["latent"].update(frames, actions)
        if alignment is not None:
            alignment.update(actions, batch.actions[:, :-1])
            effects["true"].update(frames, batch.actions[:, :-1])
        if explained is not None:
            explained.update(actions, batch.actions[:, :-1])
    _video(lam, clips.sample(SHOWN), folder, fps)
    figures = {name: float(value) for name, value in psnr.compute().items()}
    figures |= {f"codebook_{name}": float(value) for name, value in codes.compute().items()}
    if alignment is not None:
        agreement = alignment.compute()
        confusion, matching = agreement.pop("confusion"), agreement.pop("matching")
        figures |= {f"action_{name}": float(value) for name, value in agreement.items()}
        figures["action_accuracy_majority"] = float(confusion.sum(0).max() / confusion.sum())
        figures |= {"confusion": confusion.long().tolist(), "matching": matching.tolist()}
        if numbers := group_numbers(groups, true_names(clips)):
            found = grouped(confusion, numbers)
            figures |= {"group_nmi": float(found["nmi"]), "group_accuracy": float(found["accuracy"])}
            figures["group_accuracy_majority"] = float(found["majority"])
        plot_confusion(confusion, matching, true_names(clips), folder / "lam_confusion.png")
    if explained is not None:
        found = explained.compute()
        figures |= {"action_explained": float(found["explained"]), "explained_by_number": found["by_number"].tolist()}
    names = true_names(clips)
    labels = {"latent": latent_labels(lam.model.num_actions, figures.get("confusion"), names), "true": names}
    draw_effects({kind: metric.compute() for kind, metric in effects.items()}, labels, folder / "lam_effects.png")
    return figures


def draw_effects(effects: dict[str, dict[str, Tensor]], labels: dict[str, list[str]], path: Path) -> None:
    """Writes two rows for each kind of action in `effects` (what `ActionEffects` computes): the mean change of every
    pixel around grey, and without its sign on black; a column for each action, named by the `labels` of its kind."""
    seen = [kind["absolute"][kind["transitions"] > 0].flatten() for kind in effects.values()]
    limit = max([1e-6, *(float(np.quantile(values.numpy(), BRIGHTEST)) for values in seen if len(values))])
    names = {kind: [f"{kind}: change", f"{kind}: |change|"] for kind in effects}
    widths = {kind: max(text_size(name)[1] for name in names[kind]) for kind in effects}
    blocks = []
    for kind, maps in effects.items():
        scale = scale_to(maps["signed"].shape[-2], 128)
        signed = 0.5 + maps["signed"].nan_to_num(0) / (2 * limit)
        absolute = maps["absolute"].nan_to_num(0) / limit
        rows = [[enlarge(to_bytes(picture), scale) for picture in row] for row in (signed, absolute)]
        block = grid(rows, names[kind], labels[kind])
        blocks.append(_padded(block, left=max(widths.values()) - widths[kind]))  # columns beneath each other
    width = max(block.shape[1] for block in blocks)
    write_png(path, np.concatenate([_padded(block, right=width - block.shape[1]) for block in blocks]))


def _padded(picture: np.ndarray, left: int = 0, right: int = 0) -> np.ndarray:
    canvas = np.full((len(picture), left + picture.shape[1] + right, 3), BACKGROUND_COLOR, dtype=np.uint8)
    canvas[:, left : left + picture.shape[1]] = picture
    return canvas


def true_names(clips: Clips) -> list[str]:
    """Names of the true actions; none of continuous ones."""
    count = clips.info.num_actions or 0
    return list(clips.info.action_meanings or [f"true {index}" for index in range(count)]) if count else []


def group_numbers(groups: dict[str, list[str]] | None, names: list[str]) -> list[int]:
    """For the name of each true action the number of its group, one more than the last for all that are in none; none
    without groups, or where they name actions that these data do not have."""
    numbers = {name: number for number, members in enumerate((groups or {}).values()) for name in members}
    if not groups or not numbers.keys() <= set(names):
        return []
    return [numbers.get(name, len(groups)) for name in names]


def latent_labels(num_actions: int, confusion: list[list[int]] | None, names: list[str]) -> list[str]:
    """A label for each latent action: with a table of counts, the true action that it most often stands for."""
    if confusion is None:
        return [f"action {index}" for index in range(num_actions)]
    labels = []
    for index, row in enumerate(torch.tensor(confusion)):
        share = row.max() / row.sum().clamp_min(1)
        labels.append(f"{index}: {names[row.argmax()]} {share:.0%}" if row.sum() else f"{index}: never used")
    return labels


def _video(lam: Trained, clips: Clips, folder: Path, fps: float) -> None:
    frames = clips.floats()
    prediction, _ = predict(lam, frames)
    scale = scale_to(frames.shape[-2], 128)
    past = min(PAST, frames.shape[1] - 1)
    rows = []
    for truth, made in zip(to_bytes(frames), to_bytes(prediction), strict=True):
        # the columns at one moment: frames t-1, t (given), t+1 (true) and t+1 (predicted)
        count = len(truth) - past
        given = [truth[offset : offset + count] for offset in range(past)]
        cells = [border(enlarge(video, scale), CONTEXT_COLOR, 3) for video in given]
        cells += [border(enlarge(truth[past:], scale), (200, 200, 200), 3)]
        cells += [border(enlarge(made[past - 1 :], scale), PREDICTED_COLOR, 3)]
        rows.append(cells)
    labels = [f"t - {past - 1 - offset}" if offset < past - 1 else "t" for offset in range(past)]
    write_mp4(folder / "lam.mp4", grid(rows, column_labels=[*labels, "t + 1, true", "t + 1, predicted"]), fps)


ALIGNMENT = Definition(
    "alignment", "Latent and true actions", "Latent action model",
    "True actions are never trained on. NMI is the normalised mutual information: 0 for unrelated, 1 for the same "
    "up to names. Best matching: the share of transitions on which both agree after the best one-to-one renaming, "
    "beside what always naming the most common action reaches. Of continuous actions, the share of their variance that "
    "knowing the latent action explains.",
)  # fmt: skip


def _rows(report: dict) -> list[Row]:
    figures = report.get("lam")
    if not figures:
        return []
    rows = [compared("LAM next-frame PSNR", figures, "psnr"), usage("LAM codes used", figures)]
    if "action_nmi" in figures:
        rows.append(("LAM NMI, true action", number(figures["action_nmi"]), "", "", "1: the same"))
        note = f"majority {percent(figures['action_accuracy_majority'])}"
        rows.append(("LAM best-match accuracy", percent(figures["action_accuracy"]), "", "", note))
    if "action_explained" in figures:
        shares = ", ".join(percent(share) for share in figures["explained_by_number"])
        note = f"of each number: {shares}"
        rows.append(("LAM, true actions explained", percent(figures["action_explained"]), "", "", note))
    if "group_nmi" in figures:
        note = f"majority {percent(figures['group_accuracy_majority'])}, NMI {number(figures['group_nmi'])}"
        rows.append(("LAM accuracy, groups of one effect", percent(figures["group_accuracy"]), "", "", note))
    return rows


def _measure(evaluation: Evaluation) -> dict:
    run, fps = evaluation.run, evaluation.config.fps
    groups = (run.data_config.get("recorder") or {}).get("action_groups")
    return {"lam": evaluate_lam(run.lam, evaluation.clips, evaluation.folder, fps, groups)}


LAM = Part(
    "lam",
    _measure,
    needs=("genie", "lam"),
    metrics=(
        MetricInfo("lam.psnr", "next frame, PSNR", "predicted from the past and one latent action", PSNR, "dB",
                   better=HIGHER, logged="val/psnr"),
        *codebook_metrics("lam"),
        MetricInfo("lam.action_nmi", "NMI with the true actions", "0: unrelated, 1: the same up to names", ALIGNMENT,
                   better=HIGHER, logged="val/action_nmi"),
        MetricInfo("lam.action_accuracy", "best matching with the true actions",
                   "share that agrees after the best renaming", ALIGNMENT, "%", 1, HIGHER,
                   logged="val/action_accuracy"),
        MetricInfo("lam.action_explained", "variance of continuous true actions explained",
                   "by which latent action it was: η², the mean over the numbers of an action", ALIGNMENT, "%", 1,
                   HIGHER, logged="val/action_explained"),
        MetricInfo("lam.group_accuracy", "accuracy, groups of actions of one effect",
                   "each latent action stands for the group that it most often goes with", ALIGNMENT, "%", 1, HIGHER,
                   beside={"group_accuracy_majority": "always the most common"}),
        MetricInfo("lam.group_nmi", "NMI with groups of actions of one effect", "", ALIGNMENT, better=HIGHER),
    ),
    titles={"lam": "Latent action model"},
    rows=_rows,
    optional={"lam.action_nmi": "the data record no discrete true actions"},
)  # fmt: skip
