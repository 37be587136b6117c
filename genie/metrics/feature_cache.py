"""Features of videos that come again: those of a data set are computed once, and found in the cache ever after.

Dimension letters: `B` videos, `T` frames, `C H W` channels and pixels, `D` features.
"""

import hashlib
import json

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from genie.common.errors import UserError
from genie.common.files import cache_folder, replacing
from genie.metrics.pretrained import digest
from genie.metrics.video_features import VideoFeatures


def cached_features(features: VideoFeatures, videos: Tensor) -> Tensor:
    """`features(videos)` [B, D] of uint8 videos [B, T, C, H, W].

    Kept under a hash of the pixels and the protocol, so that neither can change unseen. A cache that is damaged or
    cannot be written costs time, nothing else.
    """
    pixels = digest({"videos": videos})
    key = hashlib.sha256(json.dumps([pixels, features.protocol], sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "features" / f"{features.name}_{len(videos)}v_{key[:16]}.safetensors"
    try:
        found = safetensors.torch.load_file(path)["features"]
        if found.shape == (len(videos), features.dim):
            return found.to(videos.device)
    except (OSError, SafetensorError, KeyError):
        pass
    made = features(videos)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(safetensors.torch.save({"features": made.cpu().contiguous()}))
    except (OSError, UserError) as error:
        print(f"features are not kept: {error}", flush=True)
    return made
