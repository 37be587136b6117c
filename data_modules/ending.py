"""What lies behind the end of an episode: nothing moves, nothing is earned, and it is over again.

A world whose clips all lie inside episodes never sees an end near the beginning of a clip: an episode that goes on for
a clip's length is one that did not end yet. When it then imagines from a short past, nothing ever ends. Clips that may
reach beyond the end are without that bias. The state behind it is the absorbing one of a Markov decision process
(Sutton and Barto, section 3.4).
"""

import numpy as np

from data_modules.frame_reader import FrameReader


def ended(reader: FrameReader, episodes: np.ndarray) -> np.ndarray:
    """int64 [E]: 1 where the last step of an episode [E, 2] was terminal, 0 where its time was up or nothing says."""
    if "terminals" not in reader.columns:
        return np.zeros(len(episodes), dtype=np.int64)
    over = reader.column("terminals", 0, reader.num_frames)
    return (over[episodes[:, 1] - 2] | over[episodes[:, 1] - 1]).astype(np.int64)


def after_end(name: str, rows: np.ndarray, count: int) -> np.ndarray:
    """`rows` of a column, the last ones of an episode, and `count` behind them: what is seen stands still, actions and
    rewards are 0, and every step is terminal."""
    if count <= 0:
        return rows
    behind = np.repeat(rows[-1:], count, axis=0)
    if name in ("actions", "rewards"):
        behind[:] = 0
    elif name == "terminals":
        behind[:], rows = True, np.concatenate([rows[:-1], [True]])  # the step from the last frame, too
    return np.concatenate([rows, behind])
