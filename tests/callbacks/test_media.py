"""What a logger shows is what lies on disk, and old videos go while pictures stay."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from callbacks.loggers import MediaFolder, build_loggers, log_picture, log_video
from genie.common.media import write_mp4, write_png


@pytest.fixture
def files(tmp_path):
    """(a picture, a video of 5 frames at 4 a second)."""
    rng = np.random.default_rng(0)
    picture = write_png(tmp_path / "attention.png", rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    levels = np.linspace(0, 250, 5).astype(np.uint8)[:, None, None, None]
    return picture, write_mp4(tmp_path / "rollout.mp4", np.broadcast_to(levels, (5, 16, 32, 3)), fps=4)


def test_tensorboard_gets_the_picture_and_a_moving_one(tmp_path, files):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = build_loggers({"tensorboard": {}}, tmp_path / "run", "x", None)
    trainer = SimpleNamespace(loggers=loggers)
    log_picture(trainer, "attention", files[0], step=7)
    log_video(trainer, "rollout", files[1], step=7)
    loggers[1].finalize("success")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    (picture,), (video,) = events.Images("media/attention"), events.Images("media/rollout")
    assert picture.step == video.step == 6  # as the figures of the 7th step
    assert picture.encoded_image_string == files[0].read_bytes()
    moving = Image.open(io.BytesIO(video.encoded_image_string))
    levels = []
    for number in range(moving.n_frames):
        moving.seek(number)
        levels.append(np.asarray(moving.convert("RGB")).mean())
    assert moving.n_frames == 5 and moving.info["duration"] == 250 and (np.diff(levels) > 30).all()


def test_wandb_keeps_the_files_offline(tmp_path, files, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = {"project": "genie", "entity": None, "mode": "offline", "group": None, "job_type": None}
    loggers = build_loggers({"wandb": settings}, tmp_path / "run", "x", None)
    trainer = SimpleNamespace(loggers=loggers)
    log_picture(trainer, "attention", files[0], step=7)
    log_video(trainer, "rollout", files[1], step=7)
    loggers[1].experiment.finish()
    kept = [path.read_bytes() for path in (tmp_path / "run" / "wandb").glob("offline-run-*/files/media/**/*.*")]
    assert sorted(map(len, kept)) == sorted(path.stat().st_size for path in files)
    assert {path.read_bytes() for path in files} == set(kept)


def test_videos_of_old_steps_go_and_pictures_stay(tmp_path):
    media = MediaFolder(tmp_path, keep_videos=2)
    for step in (800, 900, 1000):  # whose names sort otherwise
        folder = media.begin(step)
        (folder / "rollout.mp4").touch()
        (folder / "attention.png").touch()
        media.drop_old_videos()
    assert sorted(path.parent.name for path in tmp_path.rglob("*.mp4")) == ["step_1000", "step_900"]
    assert len(list(tmp_path.rglob("*.png"))) == 3
    MediaFolder(tmp_path, keep_videos=0).drop_old_videos()
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_step_that_is_taken_again_begins_with_an_empty_folder(tmp_path):
    media = MediaFolder(tmp_path, keep_videos=2)
    (media.begin(5) / "half.png").touch()
    assert not list(media.begin(5).iterdir())
