"""Which windows to rate, so that few ratings tell much: some from everywhere, some unlike all that were taken before.

Dimension letters: `N` windows, `F` signals.
"""

import numpy as np

FAR = 4.0


def rating_order(signals: np.ndarray) -> list[int]:
    """All of N windows in the order in which to rate them; `signals` float [N, F] in the order of the data.

    Turn by turn the next one of an even spread over the data, in which what is common is common, and the one that
    differs most from those before, so that what is rare is seen early. The unit of a signal is its spread in the data.
    """
    count = len(signals)
    places = standardise(signals)
    nearest = np.full(count, np.inf)  # distance to those that were taken
    taken: list[int] = []
    even = iter(even_spread(count))
    free = np.ones(count, dtype=bool)
    while len(taken) < count:
        if len(taken) % 2 == 0:
            index = next(number for number in even if free[number])
        else:
            index = int(np.where(free, nearest, -1).argmax())
        taken.append(index)
        free[index] = False
        nearest = np.minimum(nearest, np.square(places - places[index]).sum(axis=1))
    return taken


def standardise(signals: np.ndarray) -> np.ndarray:
    """[N, F] about their medians, in units of the range of the middle half; what is far out counts as `FAR`."""
    low, middle, high = np.percentile(signals, [25, 50, 75], axis=0)
    spread = np.where(high > low, high - low, signals.std(axis=0))
    return ((signals - middle) / np.where(spread > 0, spread, 1)).clip(-FAR, FAR)


def even_spread(count: int) -> list[int]:
    """0 … count - 1 in an order whose every beginning is spread evenly: van der Corput's, of base 2."""
    bits = max(1, (count - 1).bit_length())
    turned = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [number for number in turned if number < count]


def candidates(count: int, most: int) -> list[int]:
    """At most `most` of `count` windows, evenly spaced."""
    few = min(count, most)
    return [number * count // few for number in range(few)]
