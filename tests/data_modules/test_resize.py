"""The area resize against its definition, computed with fractions."""

from fractions import Fraction

import numpy as np
import pytest

from data_modules.image_resize import AreaResize


def by_definition(frame, target):
    """Mean over the covered area, half rounded up, pixel by pixel."""
    (height, width), (rows, columns) = frame.shape, target
    result = np.zeros(target, np.uint8)
    for i in range(rows):
        for j in range(columns):
            total = area = Fraction(0)
            for y in range(height):
                high = min(Fraction((i + 1) * height, rows), y + 1) - max(Fraction(i * height, rows), y)
                for x in range(width):
                    wide = min(Fraction((j + 1) * width, columns), x + 1) - max(Fraction(j * width, columns), x)
                    if high > 0 and wide > 0:
                        total += high * wide * int(frame[y, x])
                        area += high * wide
            result[i, j] = (total / area + Fraction(1, 2)) // 1
    return result


@pytest.mark.parametrize(
    ("source", "target"), [((10, 10), (4, 4)), ((7, 12), (5, 9)), ((3, 4), (5, 6)), ((6, 6), (6, 3))]
)
def test_every_pixel_is_the_rounded_mean_of_its_area(source, target):
    frames = np.random.default_rng(0).integers(0, 256, (3, *source, 3), dtype=np.uint8)
    resized = AreaResize(source, target)(frames)
    for n in range(3):
        for c in range(3):
            np.testing.assert_array_equal(resized[n, :, :, c], by_definition(frames[n, :, :, c], target))


def test_large_frames_are_exact_where_single_precision_would_not_do():
    frames = np.full((1, 100001, 2, 3), 100, np.uint8)
    frames[:, :, 1] = 101  # the mean is 100.5; the sums are beyond 2^24
    assert (AreaResize((100001, 2), (1, 1))(frames) == 101).all()


def test_one_by_one_and_in_a_batch_are_the_same():
    frames = np.random.default_rng(1).integers(0, 256, (20, 160, 160, 3), dtype=np.uint8)
    resize = AreaResize((160, 160), (64, 64))
    np.testing.assert_array_equal(resize(frames), np.concatenate([resize(frame[None]) for frame in frames]))
