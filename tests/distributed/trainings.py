"""One of the processes of a launcher: python trainings.py <file>; it holds the overrides of each training."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from hydra import initialize_config_module

from genie.common.cli import resolved
from genie.training.train import train


@contextmanager
def in_float64() -> Iterator[None]:
    """All of a training in float64: its models, what they take in full precision, and what is logged of it."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            yield
    finally:
        torch.set_default_dtype(usual)


def main() -> None:
    for overrides in json.loads(Path(sys.argv[1]).read_text()):
        with initialize_config_module("conf", version_base="1.3"):
            config = resolved("train", overrides)
        # nothing here is about pictures, which take long
        with mock.patch("callbacks.metrics_csv.plot_metrics"), in_float64():
            train(config)


if __name__ == "__main__":
    main()
