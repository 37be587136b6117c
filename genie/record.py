"""Records an environment into episode files: `python -m genie.record data=pong`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from data_modules.environments import ScreenEnvironment
from data_modules.recorder import SPLITS, EpisodeRecorder
from genie.errors import UserError


def replace_environment(cfg: DictConfig) -> DictConfig:
    """`env.id=X`: record X instead, without the settings that were made for the data group's own environment."""
    env_id = cfg.env.id
    if env_id is None or env_id == cfg.data.recorder.env.id:
        return cfg
    name = env_id.split("/")[-1].rsplit("-v", 1)[0].lower()
    atari = env_id.startswith("ALE/")
    with open_dict(cfg):
        cfg.data.name = name
        cfg.data.recorder.env.id = env_id
        cfg.data.recorder.merge_with({"actions": None, "action_names": None, "crop": None, "fps": None})
        if not atari:
            cfg.data.recorder.env.kwargs = {}
    return cfg


def record(data: DictConfig, overwrite: bool = False) -> Path:
    """Writes the three splits of a `data` group under its `root` and returns that folder. Errors are `UserError`s."""
    root, image_size = Path(data.root), list(data.image_size)
    settings = OmegaConf.to_container(data.recorder, resolve=True)
    existing = [str(root / f"{split}.h5") for split in SPLITS if (root / f"{split}.h5").exists()]
    if existing and not overwrite:
        raise UserError(f"{', '.join(existing)} exist already; give overwrite=true or another data.root=")
    env, frames = settings["env"], settings["num_frames"]
    environment = ScreenEnvironment(env["id"], env["kwargs"], settings["actions"], settings["action_names"])
    names = ("crop", "fps", "max_episode_steps", "policy", "seed")
    recorder = EpisodeRecorder(environment, image_size, **{name: settings[name] for name in names})
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        for split in SPLITS:
            task = progress.add_task(f"{env['id']} {split}", total=frames[split])
            recorder.record(root / f"{split}.h5", split, frames[split], lambda n, t=task: progress.advance(t, n))
    environment.close()
    print(f"recorded {sum(frames.values())} frames of {env['id']} at {image_size[0]}x{image_size[1]} in {root}")
    return root


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="record")
def main(cfg: DictConfig) -> None:
    record(replace_environment(cfg).data, overwrite=cfg.overwrite)


if __name__ == "__main__":
    main()
