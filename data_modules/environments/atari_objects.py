"""Object positions on an Atari screen (210x160), read from the console's RAM.

The offsets were measured on rendered frames. The screen shows an object only within the game's field, so what is parked
outside (the ball of Pong and Breakout after a point has RAM value 0) counts as absent.

- Pong: the ball is 2 x 4 screen pixels, the paddles 4 x 16.
- Breakout: the ball is 2 x 4, the paddle 16 x 4 (half as wide after the ball was behind the bricks: its centre is then
  up to 4 pixels off).
- Freeway: the hen that is played is 6 x 8; the other one stands still, and cars are not looked for.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class ScreenObjects(NamedTuple):
    """What of a game is looked for: names, the `field` (top, bottom, left, right) of the screen that shows them, and
    their boxes by RAM, float64 [O, 4]: (top, bottom, left, right) in screen pixels, not clipped."""

    names: tuple[str, ...]
    field: tuple[int, int, int, int]
    boxes: Callable[[np.ndarray], np.ndarray]


def pong_boxes(ram: np.ndarray) -> np.ndarray:
    """Of ball, player and enemy."""
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


def breakout_boxes(ram: np.ndarray) -> np.ndarray:
    """Of ball and player."""
    player_x, ball_x, ball_y = (int(ram[i]) for i in (72, 99, 101))
    ball_top, ball_left, player_left = ball_y + 9, ball_x - 49, player_x - 47
    return np.array(
        [(ball_top, ball_top + 4, ball_left, ball_left + 2), (189, 193, player_left, player_left + 16)],
        dtype=np.float64,
    )


def freeway_boxes(ram: np.ndarray) -> np.ndarray:
    """Of the player, the hen on the left."""
    top = 193 - int(ram[14])
    return np.array([(top, top + 8, 44, 50)], dtype=np.float64)


# by environment id; a field is the screen without score and walls
OBJECTS: dict[str, ScreenObjects] = {
    "ALE/Pong-v5": ScreenObjects(("ball", "player", "enemy"), (34, 194, 0, 160), pong_boxes),
    "ALE/Breakout-v5": ScreenObjects(("ball", "player"), (32, 194, 8, 152), breakout_boxes),
    "ALE/Freeway-v5": ScreenObjects(("player",), (16, 196, 8, 160), freeway_boxes),
}
NOTHING = ScreenObjects((), (0, 0, 0, 0), lambda ram: np.zeros((0, 4)))


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
