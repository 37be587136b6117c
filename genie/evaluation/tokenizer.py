"""Tokenizer: reconstructions and their objects.

The tokenizer: how good are frames that went through tokens, and do the small things in them survive?
"""

from pathlib import Path

from torch import Tensor
from torchmetrics.image import StructuralSimilarityIndexMeasure

from genie.common.device import full_precision
from genie.common.media import enlarge, grid, scale_to, to_bytes, write_mp4
from genie.common.plots import plot_codebook
from genie.evaluation.clips import Clips, in_segments
from genie.evaluation.trained_run import LeftOut, Trained
from genie.metrics.actions import CodeUsage
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
    """Figures of frames 1…T-1 of every clip, beside copying the previous frame and the constant background.

    Writes tokenizer.mp4, at `fps`, and codebook.png, how often each code was used. The figures: `psnr` (dB, pooled)
    and `ssim`, each with its baselines, `codebook_usage` and `codebook_perplexity`.
    """
    names = ("psnr", "psnr_copy_last", "psnr_background")
    psnr, background = frame_psnr(*names), clips.background
    ssim = {name.replace("psnr", "ssim"): StructuralSimilarityIndexMeasure(data_range=1.0) for name in names}
    usage = CodeUsage(tokenizer.model.num_codes)
    for batch in clips.batches():
        frames = batch.floats()
        rebuilt, tokens = reconstruct(tokenizer.model, frames, tokenizer.window)
        update_frame_psnr(psnr, rebuilt[:, 1:], frames, background)
        target = frames[:, 1:].flatten(0, 1)
        pictures = rebuilt[:, 1:], frames[:, :-1], background.expand_as(frames[:, 1:])
        with full_precision(frames):  # as in `genie.metrics.psnr`
            for metric, picture in zip(ssim.values(), pictures, strict=True):
                metric.update(picture.flatten(0, 1).float(), target)
        usage.update(tokens)
    _video(tokenizer, clips.sample(SHOWN), folder, fps)
    plot_codebook(usage.counts, folder / "codebook.png")
    codes = {f"codebook_{name}": value for name, value in usage.compute().items()}
    alike = {name: metric.compute() for name, metric in ssim.items()}
    return {name: float(value) for name, value in {**psnr.compute(), **alike, **codes}.items()}


def evaluate_objects(tokenizer: Trained, clips: Clips) -> dict:
    """By object name: `survival` and `false_alarms` in [0, 1] and the counts `seen` and `controls` behind them."""
    if not clips.has_objects:
        raise LeftOut("the data record no object positions")
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
