"""Quality of the tokenizer: reconstructed frames, and the survival of small objects in them."""

from pathlib import Path

from torch import Tensor
from torchmetrics.image import StructuralSimilarityIndexMeasure

from data_modules.held_out_clips import Clips, in_segments
from genie.common.device import full_precision
from genie.common.media import enlarge, grid, scale_to, to_bytes, write_mp4
from genie.common.plots import plot_codebook
from genie.evaluation.part import Evaluation, Part, Row, compared, percent, usage
from genie.evaluation.trained_run import Trained
from genie.metrics.actions import CodeUsage
from genie.metrics.metric_info import HIGHER, LOWER, Definition, MetricInfo
from genie.metrics.objects import ObjectSurvival
from genie.metrics.psnr import frame_psnr, update_frame_psnr
from genie.models import VideoTokenizer

SHOWN = 4  # clips in the video


def reconstruct(tokenizer: VideoTokenizer, frames: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Frames [B, T, C, H, W] in [0, 1] that went through the tokens int64 [B, T, S], and these; on the CPU.

    The tokenizer sees stretches of `window` frames, the length it was trained on.
    """

    def function(part: Tensor) -> tuple[Tensor, Tensor]:
        output = tokenizer(part)
        return output.reconstruction, output.tokens

    device = next(tokenizer.parameters()).device
    rebuilt, tokens = in_segments(function, frames.to(device), window)
    return rebuilt.cpu(), tokens.cpu()


def evaluate_tokenizer(tokenizer: Trained, clips: Clips, folder: Path, fps: float) -> dict:
    """Metrics of frames 1…T-1 of every clip: `psnr` (dB, pooled) and `ssim`, each with the baselines `_copy_last` (of
    the previous frame) and `_background`, `codebook_usage` and `codebook_perplexity`.

    Writes tokenizer.mp4, at `fps`, and codebook.png, how often each code was used.
    """
    names = ("psnr", "psnr_copy_last", "psnr_background")
    psnr, background = frame_psnr(*names), clips.background
    ssim = {name.replace("psnr", "ssim"): StructuralSimilarityIndexMeasure(data_range=1.0) for name in names}
    codes = CodeUsage(tokenizer.model.num_codes)
    for batch in clips.batches():
        frames = batch.floats()
        rebuilt, tokens = reconstruct(tokenizer.model, frames, tokenizer.window)
        update_frame_psnr(psnr, rebuilt[:, 1:], frames, background)
        target = frames[:, 1:].flatten(0, 1)
        pictures = rebuilt[:, 1:], frames[:, :-1], background.expand_as(frames[:, 1:])
        with full_precision(frames):  # as in `genie.metrics.psnr`
            for metric, picture in zip(ssim.values(), pictures, strict=True):
                metric.update(picture.flatten(0, 1).float(), target)
        codes.update(tokens)
    _video(tokenizer, clips.sample(SHOWN), folder, fps)
    plot_codebook(codes.counts, folder / "codebook.png")
    values = psnr.compute() | {name: metric.compute() for name, metric in ssim.items()}
    values |= {f"codebook_{name}": value for name, value in codes.compute().items()}
    return {name: float(value) for name, value in values.items()}


def evaluate_objects(tokenizer: Trained, clips: Clips) -> dict:
    """By object name: `survival` and `false_alarms` in [0, 1] and the counts `seen` and `controls`.

    `clips`: of data that record object positions.
    """
    survival = ObjectSurvival(clips.objects.shape[2])
    for batch in clips.batches():
        frames = batch.floats()
        rebuilt, _ = reconstruct(tokenizer.model, frames, tokenizer.window)
        survival.update(rebuilt, frames, batch.objects, clips.background)
    values = survival.compute()
    figures = {}
    for index, name in enumerate(clips.object_names):
        if values["seen"][index]:
            figures[name] = {
                "survival": float(values["survival"][index]),
                # without a position for the control there is no share
                **({"false_alarms": float(values["false_alarms"][index])} if values["controls"][index] else {}),
                "seen": int(values["seen"][index]),
                "controls": int(values["controls"][index]),
            }
    return figures


def _video(tokenizer: Trained, clips: Clips, folder: Path, fps: float) -> None:
    frames = clips.floats()
    scale = scale_to(frames.shape[-2], 128)
    rebuilt, _ = reconstruct(tokenizer.model, frames, tokenizer.window)
    columns = {"original": frames, "reconstruction": rebuilt, "error": (rebuilt - frames).abs()}
    parts = [enlarge(to_bytes(part), scale) for part in columns.values()]
    rows = [list(videos) for videos in zip(*parts, strict=True)]
    write_mp4(folder / "tokenizer.mp4", grid(rows, column_labels=list(columns)), fps)


PSNR = Definition(
    "psnr", "PSNR", "PSNR and its two baselines",
    "How far two pictures are apart: −10 · log10 of the mean squared error of values in [0, 1], in dB. 20 dB is an "
    "average error of a tenth of the range, 40 dB of a hundredth. The error is averaged over all frames first "
    "(pooled). It says something only beside predictions that need no model, on the same frames: a copy of the "
    "last frame (in a rollout of the last given one), and the constant background, which is the per-pixel median "
    "of the training frames.",
)  # fmt: skip
SSIM = Definition(
    "ssim", "SSIM", "PSNR and its two baselines",
    "Structural similarity, −1 to 1: local means, contrasts and structures are compared instead of single pixels.",
)  # fmt: skip
CODEBOOK = Definition(
    "codebook", "Codes used, perplexity", "Tokenizer",
    "Used: the share of the codes that occur at least once. Perplexity: how many codes it would be if all were "
    "used equally often, exp(−Σ p log p). Near 1 the codebook has collapsed.",
)  # fmt: skip
SURVIVAL = Definition(
    "objects", "Objects after the tokens", "Objects",
    "An object survives where the reconstruction differs from the background in the same colour direction as the "
    "original by more than a third as much, within one pixel of its true position. False alarms: the same test at "
    "the mirrored position, where nothing is. A survival means something only while these are rare.",
)  # fmt: skip


def codebook_metrics(group: str) -> tuple[MetricInfo, ...]:
    """Those of the codebook of a model."""
    return (
        MetricInfo(f"{group}.codebook_usage", "codes used", "share of the codes that occur at all", CODEBOOK, "%", 1,
                   HIGHER, logged="val/codebook_usage"),
        MetricInfo(f"{group}.codebook_perplexity", "perplexity", "codes, if all were used equally often", CODEBOOK,
                   digits=1, better=HIGHER, logged="val/codebook_perplexity"),
    )  # fmt: skip


def _rows(report: dict) -> list[Row]:
    figures = report.get("tokenizer")
    if not figures:
        return []
    return [
        compared("tokenizer PSNR", figures, "psnr"),
        compared("tokenizer SSIM", figures, "ssim", digits=3),
        usage("tokenizer codes used", figures),
    ]


def _object_rows(report: dict) -> list[Row]:
    rows = []
    for name, figures in report.get("objects", {}).items():
        control = percent(figures["false_alarms"]) if "false_alarms" in figures else "none"
        rows.append((f"{name} survives", percent(figures["survival"]), "", "", f"control {control}"))
    return rows


def _measure(evaluation: Evaluation) -> dict:
    run, fps = evaluation.run, evaluation.config.fps
    return {"tokenizer": evaluate_tokenizer(run.tokenizer, evaluation.clips, evaluation.folder, fps)}


TOKENIZER = Part(
    "tokenizer",
    _measure,
    needs=("genie", "tokenizer"),
    metrics=(
        MetricInfo("tokenizer.psnr", "PSNR",
                   "frames that went through the tokens; bounds all that is generated from them", PSNR, "dB",
                   better=HIGHER, logged="val/psnr"),
        MetricInfo("tokenizer.ssim", "SSIM", "the same frames, by local structure", SSIM, digits=3, better=HIGHER,
                   logged="val/ssim"),
        *codebook_metrics("tokenizer"),
    ),
    titles={"tokenizer": "Tokenizer"},
    rows=_rows,
)  # fmt: skip
OBJECTS = Part(
    "objects",
    lambda evaluation: {"objects": evaluate_objects(evaluation.run.tokenizer, evaluation.clips)},
    needs=("genie", "tokenizer", "objects"),
    metrics=(
        MetricInfo("objects.{object}.survival", "{object} survives",
                   "share of its true positions at which the tokens keep it", SURVIVAL, "%", 1, HIGHER,
                   {"false_alarms": "false alarms", "seen": "positions", "controls": "of the control"}),
        MetricInfo("objects.{object}.false_alarms", "{object}, false alarms", "", SURVIVAL, "%", 1, LOWER),
        MetricInfo("objects.{object}.{count:seen|controls}", "{object}, positions", "", SURVIVAL, digits=0),
    ),
    titles={"objects": "Objects after the tokens"},
    rows=_object_rows,
)  # fmt: skip
