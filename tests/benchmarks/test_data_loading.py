"""The benchmark of reading clips: it runs, and says a speed for each way to read."""

import re

from benchmarks import data_loading


def test_episodes_and_videos_are_read(pong_root, tmp_path, monkeypatch, capsys, read_video):
    monkeypatch.setattr(data_loading, "VIDEOS", 1)
    monkeypatch.setattr(data_loading, "VIDEO_FRAMES", 90)
    data_loading.write_videos(str(pong_root), tmp_path, 32)
    frames, rate = read_video(tmp_path / "0.mp4")
    assert frames.shape == (90, 32, 32, 3) and rate == 30
    settings = data_loading.Arguments(num_frames=4, batch_size=2, batches=2)
    data_loading.measure(str(pong_root), 0, {"in_memory": False}, settings)
    assert re.search(r"num_workers=0 in_memory=false +[1-9]\d* clips/s", capsys.readouterr().out)
