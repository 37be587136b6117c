"""`python -m genie.curate`: from ratings to what training sees."""

import csv

import numpy as np
import pytest

from benchmarks.curation import true_rating
from data_modules.clip_data_module import ClipDataModule
from data_modules.formats.episode_reader import EpisodeReader
from data_modules.held_out_clips import load_clips
from data_modules.worker_loader import DamagedData
from genie.common.errors import UserError
from genie.curate import main
from genie.labeling.curate import Ratings, curate, rating_queue
from genie.metrics.efficientnet_lite import pretrained_efficientnet_lite0

pytestmark = pytest.mark.slow


@pytest.fixture
def rated(footage, mix, tmp_path):
    """A file with the true ratings of the 50 windows of the mix that the page would show first."""
    ratings = Ratings(tmp_path / "labels.csv", footage)
    windows = rating_queue(footage, 400)[:50]
    ratings.write({window: true_rating(window, mix[1]) for window in windows})
    return ratings


def kept_and_good(path, rated, kinds):
    """Of the windows that were not rated: whether each is kept at 3, and whether it is play."""
    with open(path) as file:
        rows = list(csv.DictReader(file))
    unseen = [row for row in rows if (int(row["first"]), int(row["stop"])) not in rated]
    good = [kinds[int(row["first"]) // 32 * 32] == "play" for row in unseen]
    return np.array([float(row["quality"]) >= 3 for row in unseen]), np.array(good)


@pytest.mark.parametrize("features", ["lite0", "none"])
def test_fifty_ratings_tell_play_from_the_rest(features, pretrained, curate_config, rated, mix, tmp_path, capsys):
    if features == "lite0":
        pretrained(pretrained_efficientnet_lite0)
    path, kinds = mix
    settings = [f"features={features}", f"output={tmp_path}", "num_pictures=2", "picture_size=64"]
    curate(curate_config(path, *settings))
    kept, good = kept_and_good(tmp_path / "quality.csv", {(w.first, w.stop) for w in rated.values}, kinds)
    assert len(kept) == 46 and 10 < good.sum() < 36
    assert (kept & good).sum() / kept.sum() >= 0.95 and (kept & good).sum() / good.sum() >= 0.9
    printed = capsys.readouterr().out
    assert (
        "50 rated clips, the quality of each by a head that was trained without all clips of its recording" in printed
    )
    assert f"train with data.quality={tmp_path}/quality.csv data.min_quality=3" in printed

    data = ClipDataModule(
        str(path), (64, 64), num_frames=8, batch_size=2, fps=10.0, quality=str(tmp_path / "quality.csv"), min_quality=3
    )
    data.setup()
    shown = [kinds[data.train_dataset.location(index)[0] // 32 * 32] for index in range(len(data.train_dataset))]
    assert shown.count("play") > 0.95 * len(shown) > 100


def test_steps_apart_and_a_head_for_other_data(curate_config, rated, mix, pong_root, tmp_path, capsys):
    head, scores = tmp_path / "head.safetensors", tmp_path / "quality.csv"
    curate(curate_config(mix[0], "step=score", f"output={tmp_path}"))
    assert "nothing was rated" in capsys.readouterr().out
    with pytest.raises(UserError, match="windows without a quality"):
        ClipDataModule(str(mix[0]), (64, 64), 8, 2, fps=10.0, quality=str(scores), min_quality=3).setup()
    curate(curate_config(mix[0], "step=train", f"output={tmp_path}", "min_quality=4.5"))
    assert head.exists() and "4.5" in capsys.readouterr().out
    other = tmp_path / "other"
    curate(curate_config(pong_root, "step=score", f"output={other}", f"head={head}"))
    printed = capsys.readouterr().out
    assert float(printed.split("%")[0].split()[-1]) > 90  # all of it is play
    data = ClipDataModule(str(pong_root), (64, 64), 8, 2, quality=str(other / "quality.csv"), min_quality=3)
    data.setup()
    assert data.kept["train"][0] > 0.9 * data.kept["train"][1] == 0.9 * 600


def test_other_data_are_evaluated_without_the_scores(curate_config, mix, pong_root):
    data = curate_config(mix[0]).data.plain() | {"min_quality": 3, "quality": "scores_of_the_mix.csv"}
    assert len(load_clips(data, str(pong_root), "val", num_clips=4, num_frames=8, batch_size=2)) == 4
    with pytest.raises(UserError, match="scores_of_the_mix.csv"):
        load_clips(data, None, "val", num_clips=4, num_frames=8, batch_size=2)


def test_the_page_is_first_and_training_second(curate_config, footage, mix, tmp_path, monkeypatch, capsys):
    served = []
    monkeypatch.setattr("genie.common.web.serve", lambda app, *arguments: served.append(app))
    config = curate_config(mix[0], f"output={tmp_path}", "label.port=0")
    curate(config)
    assert len(served) == 1 and (tmp_path / "labels.csv").exists()
    assert "http://127.0.0.1:" in capsys.readouterr().out
    ratings = Ratings(tmp_path / "labels.csv", footage)
    ratings.give(footage.windows[0], 5)
    with pytest.raises(UserError, match="has 1 ratings, of 1 kinds: give 10 at least"):
        curate(config)
    assert len(served) == 1
    with pytest.raises(UserError, match="labels.csv is not there: give 10 at least"):
        curate(curate_config(mix[0], f"output={tmp_path / 'new'}", "step=train"))


def test_mistakes_are_one_line(curate_config, mix, tmp_path, monkeypatch):
    monkeypatch.setattr("genie.common.web.serve", lambda *arguments: pytest.fail("it was served"))

    def says(match, *overrides):
        with pytest.raises(UserError, match=match) as raised:
            curate(curate_config(mix[0], f"output={tmp_path / 'out'}", *overrides))
        assert "\n" not in str(raised.value)

    says("step=rate must be one of label, train, score, null", "step=rate")
    says("min_quality=7 must be", "min_quality=7")
    says("label.port=99999 must be a whole number from 0 to 65535", "label.port=99999")
    says("label.enough=0 must be a whole number", "label.enough=0")
    says("num_pictures=0", "num_pictures=0")
    says("label.host=no.such.host.invalid", "label.host=no.such.host.invalid")
    says("there is no head", "step=score", "head=nowhere.safetensors")
    says("has 0 ratings", "step=train")
    (tmp_path / "file").write_text("")
    says("cannot write .*give another output=", "step=label", "label.port=0", f"output={tmp_path / 'file'}")


def test_the_command_line(run_main, mix, tmp_path):
    code, out, err = run_main(main, "data=episodes", f"data.root={mix[0]}", "step=score", f"output={tmp_path}")
    assert (code, err) == (0, "") and "scores of 96 windows" in out
    code, out, err = run_main(main, "data=episodes", "data.root=nowhere")
    assert (
        code == 2
        and err.startswith("error: data.root=nowhere: there is no such file or folder")
        and err.count("\n") == 1
    )
    code, out, err = run_main(main, "--help")
    assert code == 0 and out.count("\n") <= 45 and "$" not in out


def test_what_cannot_be_read_is_named_and_not_kept(curate_config, rated, mix, tmp_path, monkeypatch, capsys):
    path, _ = mix
    bad = next(iter(rated.values))
    frames = EpisodeReader.frames

    def damaged(reader, start, stop, step=1):
        if stop - start > 1 and start < bad.stop and stop > bad.first:
            raise DamagedData("this place is damaged")
        return frames(reader, start, stop, step)

    monkeypatch.setattr(EpisodeReader, "frames", damaged)
    settings = [f"output={tmp_path}", f"labels={rated.path}"]
    curate(curate_config(path, *settings))
    printed = capsys.readouterr()
    assert "left out: this place is damaged" in printed.err and "49 rated clips" in printed.out
    kept = (tmp_path / "quality.csv").read_text()
    assert f"all,{bad.first},{bad.stop}," not in kept and len(kept.splitlines()) == 1 + 95
    with pytest.raises(UserError, match="this place is damaged"):
        curate(curate_config(path, *settings, "data.on_error=raise"))
