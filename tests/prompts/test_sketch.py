"""Line art becomes a frame in the colours of the data, wherever it was drawn and whatever with."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from genie.common.errors import UserError
from genie.prompts.sketch import draw_sketch, palette_of_data, palette_of_names

GROUND, RED, GREEN, BLUE = (40, 30, 20), (200, 30, 30), (20, 180, 60), (30, 40, 220)


@pytest.fixture(scope="module")
def pong(pong_root):
    """The palette of real Pong."""
    return palette_of_data(
        {"root": str(pong_root), "num_frames": 9, "batch_size": 64, "image_size": [64, 64]}, (64, 64)
    )


@pytest.fixture(scope="module")
def plain():
    """A palette that knows of no places."""
    return palette_of_names(["#281e14", list(RED), list(GREEN), list(BLUE)], (32, 48))


def drawn(sketch, palette, fit="squeeze"):
    return draw_sketch(sketch, "the sketch", palette, fit)


def sheet(size, paper="white"):
    image = Image.new("RGB", size, paper)
    return image, ImageDraw.Draw(image)


def near(colour, other, distance=40):
    return np.abs(np.asarray(colour, dtype=int) - other).max() <= distance


def test_the_palette_of_the_data(pong):
    assert near(pong.background[32, 32], (144, 72, 17), 2)
    for colour in ((213, 130, 74), (92, 186, 92)):  # the two paddles
        assert min(np.abs(pong.colours.astype(int) - colour).max(1)) <= 12
    assert near(pong.colours[pong.usual(_part(20, 30, 6, 8))], (213, 130, 74), 12)
    assert near(pong.colours[pong.usual(_part(20, 30, 56, 58))], (92, 186, 92), 12)
    for row, column in ((14, 44), (30, 32), (50, 45)):  # the ball, where it often is
        assert pong.colours[pong.usual(_part(row, row + 2, column, column + 1))].min() > 150
    assert len(pong.colours) <= 4  # none of a thing's shades where it covers a part of a pixel


def _part(top, bottom, left, right, size=(64, 64)):
    part = np.zeros(size, dtype=bool)
    part[top:bottom, left:right] = True
    return part


@pytest.mark.parametrize("ink", ["black", "white"])
def test_paddles_and_a_ball(pong, ink):
    """Places as in the sketch, colours of the palette; black on white and white on black are the same."""
    image, pen = sheet((640, 480), "white" if ink == "black" else "black")
    pen.rectangle((560, 150, 579, 224), fill=ink)  # of the frame's pixels: rows 20-29, columns 56-57
    pen.rectangle((60, 300, 79, 374), outline=ink)  # an outline of one pixel, an eighth of the frame's
    pen.ellipse((300, 225, 312, 234), fill=ink)
    frame = drawn(image, pong)
    changed = (frame != pong.background).any(-1)
    assert {tuple(colour) for colour in frame[changed]} <= {tuple(colour) for colour in pong.colours}
    player, ball = _part(20, 30, 56, 58), _part(29, 32, 29, 32)
    assert changed[player].all() and 1 <= changed[ball].sum() <= 6
    enemy = _part(40, 50, 6, 8)
    assert changed[enemy].all()
    assert not changed[~(player | ball | enemy)].any()
    assert near(frame[25, 56], (92, 186, 92), 12) and near(frame[40, 6], (213, 130, 74), 12)


def test_a_thin_line_survives_in_one_piece(plain):
    for size, line in (
        ((1200, 800), (30, 20, 1150, 770)),
        ((480, 320), (0, 160, 479, 160)),
        ((90, 60), (45, 0, 45, 59)),
    ):
        image, pen = sheet(size)
        pen.line(line, fill="black")
        changed = (drawn(image, plain) != GROUND).any(-1)
        path = np.linspace(line[:2], line[2:], 200) * (48 / size[0], 32 / size[1])
        columns, rows = path.astype(int).clip(0, (47, 31)).T
        around = np.stack(
            [changed[np.clip(rows + i, 0, 31), np.clip(columns + j, 0, 47)] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        )
        assert around.any(0).all() and changed.sum() <= 3 * 48


def test_a_dot_is_a_pixel_and_dust_is_nothing(plain):
    for x, y in ((100, 100), (103, 108), (96, 104)):  # in the middle of a pixel of the frame, and between four
        image, pen = sheet((384, 256))
        pen.rectangle((x, y, x + 3, y + 3), fill="black")
        image.putpixel((300, 200), (0, 0, 0))
        changed = (drawn(image, plain) != GROUND).any(-1)
        rows, columns = np.nonzero(changed)
        assert 1 <= len(rows) <= 4
        assert np.abs(rows + 0.5 - (y + 2) / 8).max() <= 1 and np.abs(columns + 0.5 - (x + 2) / 8).max() <= 1


def test_coloured_ink_becomes_the_nearest_colour(plain):
    image, pen = sheet((480, 320), (250, 246, 235))
    pen.rectangle((40, 40, 119, 119), fill=(255, 80, 90))
    pen.rectangle((200, 40, 279, 119), fill=(120, 230, 110))
    pen.rectangle((360, 40, 439, 119), fill=(90, 130, 255), outline=(90, 130, 255))
    frame = drawn(image, plain)
    assert (
        (frame[4:12, 4:12] == RED).all() and (frame[4:12, 20:28] == GREEN).all() and (frame[4:12, 36:44] == BLUE).all()
    )
    assert (frame[14:] == GROUND).all()


def test_yellow_on_white_is_ink(plain):
    """Its grey is nearly that of the paper."""
    image, pen = sheet((480, 320))
    pen.rectangle((40, 40, 119, 119), fill=(255, 255, 60))
    assert (drawn(image, plain)[4:12, 4:12] != GROUND).any(-1).all()


@pytest.mark.parametrize("ink", [0, 255])
def test_what_is_transparent_is_paper(plain, ink):
    image = Image.new("RGBA", (480, 320), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((40, 40, 119, 119), fill=(ink, ink, ink, 255))
    changed = (drawn(image, plain) != GROUND).any(-1)
    assert changed[4:12, 4:12].all() and changed.sum() == 64


def test_the_shape_is_kept_where_that_is_wanted(plain):
    image, pen = sheet((320, 320), "#eeeeee")
    pen.rectangle((0, 0, 319, 19), fill="black")
    pen.rectangle((150, 150, 169, 169), fill="black")
    padded, cropped = ((drawn(image, plain, fit) != GROUND).any(-1) for fit in ("pad", "crop"))
    assert padded[0:2, 8:40].all() and padded[15:17, 23:25].all()
    assert padded.sum() == 64 + 4  # nothing is drawn beside the sheet
    assert not cropped[:10].any() and cropped[15:17, 23:25].all()


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (640, 480)])
@pytest.mark.parametrize("paper", ["white", "#104080"])
def test_an_empty_sheet_is_one_line(plain, size, paper):
    with pytest.raises(UserError, match="nothing is drawn") as error:
        drawn(Image.new("RGB", size, paper), plain)
    assert "\n" not in str(error.value) and "the sketch" in str(error.value)


def test_so_is_one_with_the_shades_of_paper(plain):
    shades = np.random.default_rng(0).normal(200, 6, (320, 480, 3)).clip(0, 255).astype(np.uint8)
    with pytest.raises(UserError, match="nothing is drawn"):
        drawn(Image.fromarray(shades), plain)


def test_a_photograph_is_a_sketch_too(pong):
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (900, 700), Image.Resampling.BICUBIC
    )
    photo = (np.asarray(rough) + rng.normal(0, 12, (700, 900, 3))).clip(0, 255).astype(np.uint8)
    frame = drawn(Image.fromarray(photo), pong)
    changed = (frame != pong.background).any(-1)
    assert changed.any() and {tuple(c) for c in frame[changed]} <= {tuple(c) for c in pong.colours}
    assert np.array_equal(frame, drawn(Image.fromarray(photo), pong))


def test_grey_ink_without_places_is_the_first_colour(plain):
    image, pen = sheet((480, 320))
    pen.rectangle((40, 40, 119, 119), fill="#444444")
    assert (drawn(image, plain)[4:12, 4:12] == RED).all()


@pytest.mark.parametrize(
    "names", ["red", [], ["#904811"], ["#904811", "reddish"], [[1, 2], [3, 4, 5]], [[0, 0, 256], "red"], 5, [None, 2]]
)
def test_what_is_no_palette_is_one_line(names):
    with pytest.raises(UserError, match="prompt_palette=") as error:
        palette_of_names(names, (8, 8))
    assert "\n" not in str(error.value)


def test_data_that_is_not_there_is_one_line(tmp_path):
    data = {"root": str(tmp_path / "nowhere"), "num_frames": 9, "batch_size": 64, "image_size": [64, 64]}
    with pytest.raises(UserError, match="a sketch gets the colours of the training data.*prompt_palette=") as error:
        palette_of_data(data, (64, 64))
    assert "\n" not in str(error.value)
