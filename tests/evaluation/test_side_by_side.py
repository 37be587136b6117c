"""Imagined beside real: what is drawn where."""

import torch

from genie.evaluation.imagination import SideSettings, draw_side_by_side, imagine_clips, state_lines


def test_imagined_lines_begin_at_the_last_given_state(line_world, line_clips):
    clips = line_clips(line_world(), count=2, length=5)
    lines = state_lines(clips.states, imagine_clips(line_world(), clips, 3, 0).observations)
    real, imagined = (torch.from_numpy(lines[name]).view(2, 6, 1) for name in ("real", "imagined"))
    torch.testing.assert_close(real[:, :5], clips.states)
    torch.testing.assert_close(imagined[:, 2:5], clips.states[:, 2:])  # the world is right
    assert imagined[:, :2].isnan().all() and real[:, 5].isnan().all() and imagined[:, 5].isnan().all()


def test_frames_are_given_and_then_imagined(tokens_world, read_video, tmp_path):
    from data_modules.held_out_clips import Clips

    frames = torch.randint(0, 256, (3, 6, 3, 8, 12), dtype=torch.uint8)
    path = draw_side_by_side(tokens_world, Clips(frames, None, None, None, 2), SideSettings(2, 2, 5, 0), tmp_path)
    video, _ = read_video(path)
    assert path.name == "side_by_side.mp4" and len(video) == 6
    width = video.shape[2] // 3
    error = video[:, :, 2 * width + 12 : -12, :].astype(int)
    middle = error[:, error.shape[1] // 4]  # through the first clip
    assert middle[:2].max() < 30 < 60 < middle[2:].max()  # the given frames are the true ones
