"""Object positions on an Atari screen, read from the console's RAM.

Pong (ALE/Pong-v5, 210x160 screen): the offsets were measured on rendered frames. The ball is 2 x 4 screen
pixels, the paddles 4 x 16; the screen shows only what lies in the field, rows 34 to 193, so a parked object
(RAM value 0 after a point) falls outside and counts as absent.
"""

from collections.abc import Callable

import numpy as np

PONG_FIELD = (34, 194, 0, 160)  # top, bottom, left, right: the screen without the score and the white walls


def pong_boxes(ram: np.ndarray) -> np.ndarray:
    """float64 [3, 4]: (top, bottom, left, right) of ball, player and enemy in screen pixels, not clipped."""
    ball_x, enemy_y, player_y, ball_y = (int(ram[i]) for i in (49, 50, 51, 54))
    ball_top = ball_y - 14
    player_top = 2 * ((player_y + 1) // 2) - 14  # the console draws this paddle on even lines only
    enemy_top = enemy_y - 15
    return np.array(
        [
            (ball_top, ball_top + 4, ball_x - 49, ball_x - 47),
            (player_top, player_top + 16, 140, 144),
            (enemy_top, enemy_top + 16, 16, 20),
        ],
        dtype=np.float64,
    )


# environment id -> (object names, the part of the screen that shows them, their boxes from RAM)
OBJECTS: dict[str, tuple[list[str], tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = {
    "ALE/Pong-v5": (["ball", "player", "enemy"], PONG_FIELD, pong_boxes),
}


def visible_centres(
    boxes: np.ndarray, field: tuple[int, ...], crop: tuple[int, ...], image_size: tuple[int, int]
) -> np.ndarray:
    """Centres of the visible parts of `boxes` [O, 4], in pixels of the stored frame.

    Returns float32 [O, 2], (x, y); the centre of the top left pixel is (0, 0), so rounding gives an index;
    NaN where nothing of the object is inside both `field` and `crop`, (top, bottom, left, right) of the screen.
    """
    top, bottom, left, right = crop
    y0, y1 = np.maximum(boxes[:, 0], max(top, field[0])), np.minimum(boxes[:, 1], min(bottom, field[1]))
    x0, x1 = np.maximum(boxes[:, 2], max(left, field[2])), np.minimum(boxes[:, 3], min(right, field[3]))
    x = ((x0 + x1) / 2 - left) * image_size[1] / (right - left) - 0.5
    y = ((y0 + y1) / 2 - top) * image_size[0] / (bottom - top) - 0.5
    centres = np.stack([x, y], axis=1)
    centres[(y1 <= y0) | (x1 <= x0)] = np.nan
    return centres.astype(np.float32)
