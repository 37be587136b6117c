"""Running trained models: on which device, in which precision, without gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from genie.errors import UserError
from genie.hardware import best_precision


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name (`cpu`, `cuda`, `cuda:1`, `mps`), or the fastest one there is for `auto`.

    Raises UserError for a device that is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise UserError(
            f"device={name} cannot be used here ({str(error).splitlines()[0]}): give device=auto"
        ) from error
    return device


@contextmanager
def inference(device: torch.device) -> Iterator[str]:
    """No gradients, and bf16 where the device is faster with it; gives the name of the precision."""
    precision = best_precision("cpu" if device.type == "cpu" else "auto")
    bf16 = precision == "bf16-mixed"
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        yield precision
