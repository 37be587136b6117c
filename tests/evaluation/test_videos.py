"""From a folder of videos to a world that is generated from and measured, with the commands a user gives."""

import json

import numpy as np
import pytest

from genie import evaluate, generate, train
from genie.common.media import write_mp4

pytestmark = pytest.mark.slow


def write_films(folder, count):
    """Three seconds each: a square that goes to and fro."""
    for number in range(count):
        frames = np.full((90, 48, 80, 3), 40, np.uint8)
        for n, frame in enumerate(frames):
            left = abs((n + 7 * number) % 120 - 60)
            frame[10:20, left : left + 10] = (220, 200, 90)
        write_mp4(folder / f"{number}.mp4", frames, 30)
    (folder / "broken.mp4").write_bytes(b"no video")


def test_a_world_is_trained_on_a_folder_of_videos(tmp_path, run_main, read_video):
    write_films(tmp_path / "films", 4)
    settings = ["data=videos", f"data.root={tmp_path / 'films'}", "data.fit=crop", "debug=fast", "name=world"]
    settings += [f"output_dir={tmp_path}", "callbacks.rollouts.every_n_train_steps=0"]
    for stage in ("tokenizer", "lam", "dynamics"):
        code, _, said = run_main(train.main, f"stage={stage}", *settings)
        assert code == 0, said
        assert "1 of 5 videos" in said
        assert said.count("broken.mp4") == (stage == "tokenizer")  # named when it is found, later only counted
    run = f"run={tmp_path / 'world'}"
    assert run_main(generate.main, run, "num_frames=3", f"output={tmp_path / 'video.mp4'}")[0] == 0
    assert len(read_video(tmp_path / "video.mp4")[0]) >= 3
    few = ["parts=[tokenizer,lam,rollout]", "num_clips=2", "horizon=4", "prompt_frames=3", "report=false"]
    code, _, said = run_main(evaluate.main, run, *few)
    assert code == 0, said
    figures = json.loads((tmp_path / "world" / "evaluation" / "evaluation.json").read_text())
    assert "psnr" in json.dumps(figures)
