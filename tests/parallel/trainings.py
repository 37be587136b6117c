"""One of the processes of a launcher: python trainings.py <file>; it holds the overrides of each training."""

import json
import sys
from pathlib import Path
from unittest import mock

from hydra import compose, initialize_config_module

from genie.cli import to_plain
from genie.training import train


def main() -> None:
    for overrides in json.loads(Path(sys.argv[1]).read_text()):
        with initialize_config_module("conf", version_base="1.3"):
            config = to_plain(compose("train", overrides))
        with mock.patch("callbacks.loss_plot.plot_metrics"):  # nothing here is about pictures, which take long
            train(config)


if __name__ == "__main__":
    main()
