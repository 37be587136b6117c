"""Conversion of data into episode files: `python -m genie.convert videos=folder output=mine.h5`."""

from omegaconf import DictConfig

from genie.common.cli import hydra_main, to_plain
from genie.common.errors import UserError
from genie.common.settings.schema import typed


@hydra_main("convert", resolve=False)  # `videos` says what data.root is
def main(cfg: DictConfig) -> None:
    from genie.datasets.convert import convert

    if cfg.videos is not None:
        if cfg.data.source != "videos":
            raise UserError(f"videos={cfg.videos} is for videos alone: with data={cfg.data.name} give data.root=")
        cfg.data.root = cfg.videos
    print(convert(typed("convert", to_plain(cfg))))


if __name__ == "__main__":
    main()
