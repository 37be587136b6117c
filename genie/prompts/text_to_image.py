"""Pictures of texts, drawn by a pretrained pipeline of the package diffusers.

The package is an extra: pip install "genie-world[text]". A model is a folder as `pipeline.save_pretrained` writes it,
or a name on the hub, which is fetched once into diffusers' own cache. No code of a model is run or unpickled: weights
have to be safetensors, and Python files are refused. `text_to_image._target_` may name another class with the method of
`TextToImage`.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from genie.common.config_errors import one_line
from genie.common.errors import UserError

LONGEST = 500  # characters; text encoders read some 77 words
INDEX = "model_index.json"  # names the parts of a pipeline
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class TextToImage(Protocol):
    """A model that draws pictures of texts."""

    def __call__(self, text: str, size: tuple[int, int], seed: int) -> np.ndarray:
        """uint8 [h, w, 3] in the model's native size, with about the aspect ratio of `size` (H, W) where possible.

        A function of text, size and seed. Raises UserError where it fails.
        """
        ...


def load_text_to_image(settings: dict[str, Any], device: torch.device) -> TextToImage:
    """The model of the group `text_to_image`. Raises UserError, in one line, where it is not available."""
    try:
        return instantiate(settings, device=device)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise UserError(f"text_to_image cannot be had: {one_line(error)}") from error


def require_text(text: str) -> str:
    """The text without white space around it. Raises UserError where it is empty or too long."""
    words = text.strip()
    if not words or len(words) > LONGEST:
        raise UserError(f"a text prompt has 1 to {LONGEST} characters, this one {len(words)}")
    return words


class Diffusers:
    """A `TextToImage`; keys as in conf/text_to_image/diffusers.yaml.

    Raises UserError where the extra is not installed, or the model is missing, is no text-to-image pipeline, or has
    other weights than safetensors.
    """

    def __init__(self, model: str, steps: int, guidance: float, dtype: str, device: torch.device) -> None:
        self.steps, self.guidance = steps, guidance
        self.model = model
        self.pipeline = _load(model, getattr(torch, dtype)).to(device)
        self.pipeline.set_progress_bar_config(disable=True)

    def __call__(self, text: str, size: tuple[int, int], seed: int) -> np.ndarray:
        generator = torch.Generator("cpu").manual_seed(seed)  # the same noise on every device
        try:
            pictures = self.pipeline(
                prompt=text, num_inference_steps=self.steps, guidance_scale=self.guidance, generator=generator,
                output_type="np", **self._sides(size),
            ).images  # fmt: skip
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(f"text_model={self.model} makes no pictures of texts ({one_line(error)})") from error
        return (np.nan_to_num(pictures[0][..., :3]).clip(0, 1) * 255).round().astype(np.uint8)

    def _sides(self, size: tuple[int, int]) -> dict[str, int]:
        """Height and width with the aspect ratio of `size` and the number of pixels of the model's training.

        Empty where that number is unknown: the model then uses its default.
        """
        part = getattr(self.pipeline, "unet", None) or getattr(self.pipeline, "transformer", None)
        cells = getattr(getattr(part, "config", None), "sample_size", None)
        factor = getattr(self.pipeline, "vae_scale_factor", None)
        if not isinstance(cells, int) or factor is None:
            return {}
        multiple = max(8, 2 * factor)
        sides = [cells * factor * (one / other) ** 0.5 for one, other in (size, size[::-1])]
        height, width = (max(1, round(side / multiple)) * multiple for side in sides)
        return {"height": height, "width": width}


def _load(model: str, dtype: torch.dtype) -> Any:
    try:
        import transformers  # noqa: F401  the text encoders
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging
    except ImportError as error:
        raise UserError(
            f'text_model={model} needs a package that is missing ({one_line(error)}): pip install "genie-world[text]"'
        ) from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = Path(model) if Path(model).is_dir() else _from_hub(model, DiffusionPipeline)
    _require_safe(model, folder)
    try:
        return DiffusionPipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except Exception as error:  # each of the many parts has its own errors
        raise UserError(f"text_model={model} cannot be loaded ({one_line(error)[:300]})") from error


def _from_hub(model: str, pipeline: Any) -> Path:
    """The folder of a named model in diffusers' cache; the network is used only where it is incomplete."""
    if model.count("/") != 1 or model.startswith(("/", ".")):
        raise UserError(f"text_model={model} is not there: give the folder of a pipeline, or a name as in owner/model")
    with suppress(Exception):  # missing or incomplete
        return Path(pipeline.download(model, use_safetensors=True, local_files_only=True))
    try:
        return Path(pipeline.download(model, use_safetensors=True))
    except Exception as error:  # of the network, of the hub, or of the model
        why = one_line(error).split(". ")[0][:200]
        raise UserError(
            f"text_model={model} is no folder, and it cannot be fetched ({why}): give a folder, or check the name and "
            "the network"
        ) from error


def _require_safe(model: str, folder: Path) -> None:
    """Raises UserError for a folder that is no pipeline, or that holds code or pickles."""
    try:
        json.loads((folder / INDEX).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"text_model={model} is no pipeline of diffusers: there is no {INDEX} that can be read"
        ) from error
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".py":
            raise UserError(
                f"text_model={model} brings a program of its own ({path.name}), which is not run: give another"
            )
        if path.suffix in PICKLES and not list(path.parent.glob("*.safetensors")):
            raise UserError(f"text_model={model}: {path.relative_to(folder)} is pickled; only safetensors are read")
