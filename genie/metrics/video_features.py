"""Features of videos for FVD: clips resized to 224x224, through a fixed network, with a cache.

Dimension letters: `B` videos, `T` frames, `N` inputs, `C H W` channels and pixels, `D` features.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genie.common.errors import UserError
from genie.common.files import cache_folder
from genie.common.settings.evaluation import MIN_FVD_FRAMES
from genie.common.tensor_cache import cached_tensors, keep_tensors
from genie.metrics import i3d
from genie.metrics.pretrained import digest

RESIZES = ("bilinear", "legacy")


class Frozen:
    """Calls a fixed `network` in evaluation mode and float32, without autocast and TF32, on the device of its input. It
    is no nn.Module, so that its parameters are neither saved in the checkpoints of an owner nor cast by `.half()`.
    Gradients reach the input."""

    def __init__(self, network: nn.Module | torch.jit.ScriptModule):
        self.network = network.eval()
        for parameter in network.parameters():
            parameter.requires_grad_(False)

    def __call__(self, x: Tensor, **options: bool) -> Tensor:
        cudnn = torch.backends.cudnn
        now = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
        with torch.autocast(x.device.type, enabled=False), cudnn.flags(**now, allow_tf32=False):
            return self.network.to(x.device, torch.float32)(x.float(), **options)


def in_batches(function: Callable[..., Tensor], size: int, *inputs: Tensor) -> Tensor:
    """`function` over tensors [N, …], `size` at a time, to bound memory."""
    return torch.cat([function(*parts) for parts in zip(*(x.split(size) for x in inputs), strict=True)])


class VideoFeatures:
    """Callable: videos [B, T, C, H, W] → features float32 [B, D].

    Several metrics may share one, so that a video passes the network once (`genie.metrics.fvd`).

    Args:
        detector: "i3d", the network of FVD; a file of TorchScript; or a module. The last two get float32
            [B, 3, T, 224, 224] in [-1, 1] and give [B, D]. TorchScript is code: load only what you trust.
        num_frames: T, of every video.
        resize: to 224x224, "bilinear" as in PyTorch, or "legacy" as in TensorFlow 1, for the numbers of the original.
            Which one matters little, as long as it is the same on both sides.
        batch_size: videos in the network at once.
        options: keyword arguments of a TorchScript detector or module, such as `return_features=True`.

    Raises ValueError for invalid values, and UserError where the weights are not available.
    """

    def __init__(
        self,
        detector: str | Path | nn.Module = "i3d",
        num_frames: int = 16,
        resize: str = "bilinear",
        batch_size: int = 4,
        options: dict[str, Any] | None = None,
    ):
        if resize not in RESIZES:
            raise ValueError(f"resize={resize!r}: choose one of {', '.join(RESIZES)}")
        if detector == "i3d" and num_frames < MIN_FVD_FRAMES:
            raise ValueError(f"num_frames={num_frames}: I3D needs at least {MIN_FVD_FRAMES} frames")
        self.num_frames, self.resize, self.batch_size, self.options = num_frames, resize, batch_size, options or {}
        network, self.detector, feature, self.weights_sha256 = load_detector(detector)
        self.network = Frozen(network)
        self.feature = ", ".join([feature, *(f"{key}={value}" for key, value in self.options.items())])
        black = torch.zeros(1, num_frames, 3, i3d.SIZE, i3d.SIZE, dtype=torch.uint8)
        self.dim = i3d.NUM_LOGITS if detector == "i3d" else self(black).shape[1]

    @torch.no_grad()
    def __call__(self, videos: Tensor) -> Tensor:
        """videos uint8, or floats in [0, 1]; ValueError for others, and for another length."""
        if videos.dim() != 5 or videos.shape[1] != self.num_frames or videos.shape[2] != 3:
            raise ValueError(f"videos of shape {list(videos.shape)} are not [B, {self.num_frames}, 3, H, W]")
        if videos.dtype != torch.uint8 and not videos.is_floating_point():
            raise ValueError(f"videos of type {videos.dtype}: give uint8, or floats in [0, 1]")
        if videos.is_floating_point() and len(videos) and not (videos.min() >= -1e-3 and videos.max() <= 1.001):
            low, high = videos.min().item(), videos.max().item()
            raise ValueError(f"videos between {low:.3g} and {high:.3g}: floats have to be in [0, 1]")
        if not len(videos):
            return torch.zeros(0, self.dim, device=videos.device)
        return in_batches(self._batch, self.batch_size, videos)

    def _batch(self, videos: Tensor) -> Tensor:
        videos = videos.float() / 255 if videos.dtype == torch.uint8 else videos.float()
        frames = videos.flatten(0, 1)
        if self.resize == "legacy":
            frames = resize_legacy(frames)
        else:
            frames = F.interpolate(frames, size=(i3d.SIZE, i3d.SIZE), mode="bilinear", align_corners=False)
        clips = (2 * frames - 1).unflatten(0, videos.shape[:2]).transpose(1, 2)  # [B, 3, T, 224, 224]
        return self.network(clips.contiguous(memory_format=torch.channels_last_3d), **self.options).float()

    @property
    def name(self) -> str:
        """`i3d_16f`: the detector and the frames of a video; `i3d_16f_legacy` with the other resize."""
        return f"{self.detector}_{self.num_frames}f" + ("_legacy" if self.resize == "legacy" else "")

    @property
    def protocol(self) -> dict[str, Any]:
        """All that features depend on: those of one protocol are comparable."""
        return {
            "detector": self.detector,
            "weights_sha256": self.weights_sha256,
            "feature": self.feature,
            "frames": self.num_frames,
            "resize": self.resize,
        }


def load_detector(detector: str | Path | nn.Module) -> tuple[nn.Module, str, str, str]:
    """The network, its name, a description of its features and the SHA-256 of its weights."""
    if detector == "i3d":
        return i3d.pretrained_i3d(), "i3d", f"{i3d.NUM_LOGITS} logits", i3d.WEIGHTS.sha256
    if isinstance(detector, nn.Module):
        return detector, type(detector).__name__, "the module's output", digest(detector.state_dict())
    path = Path(detector)
    if not path.is_file():
        raise UserError(f"detector={detector}: give i3d, or a file of TorchScript")
    try:
        network = torch.jit.load(path, map_location="cpu")
    except RuntimeError as error:
        raise UserError(f"detector={detector} is no file of TorchScript ({str(error).splitlines()[0]})") from error
    return network, path.stem, "the file's output", hashlib.sha256(path.read_bytes()).hexdigest()


def resize_legacy(frames: Tensor) -> Tensor:
    """Frames [N, C, H, W] at 224x224 as TensorFlow 1's `resize_bilinear`: target pixel i lies at i · in / out."""
    for axis in (-2, -1):
        length = frames.shape[axis]
        place = torch.arange(i3d.SIZE, device=frames.device, dtype=frames.dtype) * (length / i3d.SIZE)
        low = place.long()
        share = (place - low).unflatten(0, (-1, 1) if axis == -2 else (1, -1))
        near, far = (frames.index_select(axis, index) for index in (low, (low + 1).clamp_max(length - 1)))
        frames = near + (far - near) * share
    return frames


def cached_features(features: VideoFeatures, videos: Tensor) -> Tensor:
    """`features(videos)` [B, D] of uint8 videos [B, T, C, H, W], cached under a hash of the pixels and the protocol. A
    damaged or read-only cache only costs time."""
    pixels = digest({"videos": videos})
    key = hashlib.sha256(json.dumps([pixels, features.protocol], sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "features" / f"{features.name}_{len(videos)}v_{key[:16]}.safetensors"
    found = cached_tensors(path).get("features")
    if found is not None and found.shape == (len(videos), features.dim):
        return found.to(videos.device)
    made = features(videos)
    keep_tensors(path, {"features": made}, "features are not kept")
    return made
