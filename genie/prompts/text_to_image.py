"""Text to image.

A text becomes a picture, by a model that others trained.

The group `text_to_image` says which class it is; anything with this one method will do.

Pictures of texts, drawn by a pipeline of the package diffusers, which is an extra: pip install "genie-world[text]".

A model is a folder as `pipeline.save_pretrained` writes one, or a name on the hub, which is fetched once and then taken
from diffusers' own cache. Nothing of a model is run or unpickled: its weights have to be safetensors, and Python files
that it brings are refused.
"""

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from genie.common.config_errors import one_line
from genie.common.errors import UserError

LONGEST = 500  # characters; text encoders read some 77 words


class TextToImage(Protocol):
    """Draws pictures of texts."""

    def __call__(self, text: str, size: tuple[int, int], seed: int) -> np.ndarray:
        """uint8 [h, w, 3], as large as the model likes best, in about the shape of `size` (H, W), where it goes.

        The same text, size and seed give the same picture. Raises UserError where that cannot be.
        """
        ...


def load_text_to_image(settings: dict[str, Any], device: torch.device) -> TextToImage:
    """The model of the group `text_to_image`. Raises UserError, in one line, where it cannot be had."""
    try:
        return instantiate(settings, device=device)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise UserError(f"text_to_image cannot be had: {one_line(error)}") from error


def require_text(text: str) -> str:
    """The text without white space around it. Raises UserError where there is none, or too much."""
    words = text.strip()
    if not words or len(words) > LONGEST:
        raise UserError(f"a text prompt has 1 to {LONGEST} characters, this one {len(words)}")
    return words


INDEX = "model_index.json"  # names the parts of a pipeline
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
DTYPES = ("float32", "float16", "bfloat16")


class Diffusers:
    """A `TextToImage`; keys as in conf/text_to_image/diffusers.yaml. Importing this module loads none of it.

    Raises UserError where the extra is not installed, or the model is not there, is no pipeline that makes pictures of
    texts, or has other weights than safetensors.
    """

    def __init__(self, model: str, steps: int, guidance: float, dtype: str, device: torch.device) -> None:
        if dtype not in DTYPES:
            raise UserError(f"text_to_image.dtype={dtype}: there is {', '.join(DTYPES)}")
        if type(steps) is not int or steps < 1 or not isinstance(guidance, int | float):
            raise UserError(
                f"text_to_image.steps={steps} must be a whole number of at least 1, guidance={guidance} a number"
            )
        self.steps, self.guidance = steps, guidance
        self.model = model
        self.pipeline = _load(model, getattr(torch, dtype)).to(device)
        self.pipeline.set_progress_bar_config(disable=True)

    def __call__(self, text: str, size: tuple[int, int], seed: int) -> np.ndarray:
        """uint8 [h, w, 3]; see `TextToImage`."""
        generator = torch.Generator("cpu").manual_seed(seed)  # on every device the same noise
        try:
            pictures = self.pipeline(
                prompt=text, num_inference_steps=self.steps, guidance_scale=self.guidance, generator=generator,
                output_type="np", **self._sides(size),
            ).images  # fmt: skip
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(f"text_model={self.model} makes no pictures of texts ({one_line(error)})") from error
        return (np.nan_to_num(pictures[0][..., :3]).clip(0, 1) * 255).round().astype(np.uint8)

    def _sides(self, size: tuple[int, int]) -> dict[str, int]:
        """Height and width with the shape of `size` and as many pixels as the model was trained on; none where it does
        not say, so that it takes its own."""
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
    """The pipeline, on the CPU."""
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
    except Exception as error:  # of the many parts, each has its own
        raise UserError(f"text_model={model} cannot be loaded ({one_line(error)[:300]})") from error


def _from_hub(model: str, pipeline: Any) -> Path:
    """The folder of a model with a name, in diffusers' cache: the network is asked only for what is not there."""
    if model.count("/") != 1 or model.startswith(("/", ".")):
        raise UserError(f"text_model={model} is not there: give the folder of a pipeline, or a name as in owner/model")
    try:
        return Path(pipeline.download(model, use_safetensors=True, local_files_only=True))
    except Exception:  # not there, or not all of it
        pass
    try:
        return Path(pipeline.download(model, use_safetensors=True))
    except Exception as error:  # of the network, of the hub, or of the model
        why = one_line(error).split(". ")[0][:200]
        raise UserError(
            f"text_model={model} is no folder, and it cannot be fetched ({why}): give a folder, or check the name and "
            "the network"
        ) from error


def _require_safe(model: str, folder: Path) -> None:
    """Raises UserError for a folder that is no pipeline, or one of which something would have to be run."""
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
