import pytest

from genie.common.errors import UserError
from genie.labeling.curate import Ratings


def test_ratings_are_on_disk_at_once_and_gone_on_with(footage, tmp_path):
    path, (a, b, c, *_) = tmp_path / "labels.csv", footage.windows
    ratings = Ratings(path, footage)
    for window, rating in ((c, 5), (a, None), (b, 1)):
        ratings.give(window, rating)
        assert list(Ratings(path, footage).values.items())[-1] == (window, rating)
    again = Ratings(path, footage)
    assert again.values == {c: 5, a: None, b: 1} and again.given == {c: 5, b: 1}
    again.give(c, 4)  # another opinion is the newest
    assert again.undo() == c and again.undo() == b and Ratings(path, footage).values == {a: None}
    assert again.undo() == a and again.undo() is None


def test_ratings_written_by_hand(footage, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("stop,rating,part,first,why\n32,4,all,16,nice\n16,,all,0,\n")
    assert Ratings(path, footage).given == {footage.windows[1]: 4}


def test_ratings_that_cannot_be_used_are_one_line(footage, tmp_path):
    path = tmp_path / "labels.csv"
    Ratings(path, footage).give(footage.windows[0], 3)
    text = path.read_text()

    def says(match, changed):
        path.write_text(changed)
        with pytest.raises(UserError, match=match) as raised:
            Ratings(path, footage)
        assert "\n" not in str(raised.value)

    says(r"rates all 0-16 as '6': give 1 … 5", text.replace("0,16,3", "0,16,6"))
    says(r"rates all 0-12, which is no window.*data.num_frames", text.replace("0,16,3", "0,12,3"))
    origin = tmp_path / "labels.data.json"
    origin.write_text(origin.read_text().replace('"rows": 1536', '"rows": 9'))
    says(r"is of 9 frames, .*mix.h5 has 1,536", text)
    with pytest.raises(UserError, match="cannot write .*give output="):
        Ratings(path / "below.csv", footage).write()
