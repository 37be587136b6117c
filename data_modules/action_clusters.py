"""Ids of actions that are numbers: the nearest of K centroids of k-means (Lloyd 1982).

For what takes ids alone, such as the dynamics model with `stage.actions=environment`. The centroids are found among the
training actions in [-1, 1] (`ActionNumbers`), and a run keeps them: data that it sees later are read by the same ones.

Dimension letters: `A` numbers of an action, `K` ids, `N` rows, `E` episodes.
"""

from collections.abc import Sequence

import numpy as np
from scipy.cluster.vq import kmeans2

from data_modules.action_ids import ActionIds, ActionOptions, StoredNames
from data_modules.frame_reader import FrameReader, decided
from data_modules.sources import Split
from genie.common.errors import UserError

SAMPLES = 50_000  # decisions that centroids are found among, evenly spaced over all
DIGITS = 4  # of a centroid, so that the last bits of a sum decide nothing
SMALL = 0.05  # below, a number is not worth a name
OPTIONAL = ("run", "splits", "tasks", "action_range")  # attributes of some readers


def with_clusters(splits: dict[str, Split], options: ActionOptions) -> dict[str, Split]:
    """The splits with ids in place of numbers, as `data.actions.clusters` says; unchanged where it says nothing.
    Raises UserError where the actions are no numbers, or have fewer values than there are to be ids."""
    if options.clusters is None:
        return splits
    reader, episodes = splits["train"]
    if reader.action_size is None:
        kind = "are ids already" if "actions" in reader.columns else "are not recorded"
        raise UserError(f"data.actions.clusters is for actions that are numbers: those of {reader.path} {kind}")
    if isinstance(options.clusters, tuple):
        centroids = np.array(options.clusters, dtype=np.float64)
        if centroids.shape[1] != reader.action_size:
            raise UserError(
                f"data.actions.clusters are centroids of {centroids.shape[1]} numbers, and the actions of "
                f"{reader.path} have {reader.action_size}"
            )
    else:
        centroids = find_centroids(reader, episodes, options.clusters)
    readers = {id(one): one for one, _ in splits.values()}
    clustered = {key: ActionClusters(one, centroids, options) for key, one in readers.items()}
    return {split: (clustered[id(one)], rows) for split, (one, rows) in splits.items()}


def find_centroids(reader: FrameReader, episodes: np.ndarray, count: int) -> np.ndarray:
    """float64 [K, A] of the decisions of some episodes [E, 2], the most frequent first. Raises UserError where there
    are fewer than `count` different ones."""
    total = int((episodes[:, 1] - episodes[:, 0] - 1).sum())
    every, offset, parts = max(1, -(-total // SAMPLES)), 0, []
    for start, stop in decided(episodes):
        parts.append(reader.column("actions", start, stop)[-offset % every :: every])
        offset += stop - start
    actions = np.concatenate(parts or [reader.column("actions", 0, 0)])
    different = len(np.unique(actions, axis=0))
    if different < count:
        raise UserError(
            f"data.actions.clusters={count}, and the actions of {reader.path} have {different} different values: give "
            "so many, or fewer"
        )
    first = _spread(actions, count, np.random.default_rng(0))
    centroids, nearest = kmeans2(actions.astype(np.float64), first, minit="matrix", iter=100)
    order = np.argsort(-np.bincount(nearest, minlength=count), kind="stable")
    return centroids[order].round(DIGITS)


def _spread(actions: np.ndarray, count: int, chance: np.random.Generator) -> np.ndarray:
    """Where k-means begins (k-means++, Arthur and Vassilvitskii 2007): actions [K, A], each drawn by its squared
    distance from those before. All differ: no id is without an action."""
    chosen = [actions[chance.integers(len(actions))]]
    distance = np.full(len(actions), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.square(actions - chosen[-1], dtype=np.float64).sum(1))
        chosen.append(actions[chance.choice(len(actions), p=distance / distance.sum())])
    return np.stack(chosen).astype(np.float64)


def names_of(centroids: np.ndarray, numbers: Sequence[str] | None) -> list[str]:
    """A name for each centroid: the number that is farthest from the mean, "pan +0.62"; "rest" where all are near 0."""
    names: list[str] = []
    for centroid in centroids:
        most = int(np.abs(centroid - centroids.mean(0)).argmax())
        number = numbers[most] if numbers else f"{most}"
        name = f"{number} {centroid[most]:+.2f}" if (np.abs(centroid) >= SMALL).any() else "rest"
        again = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({again + 1})" if again else name)
    return names


class ActionClusters:
    """A `FrameReader` of another one's data, whose actions are ids of centroids float64 [K, A]."""

    action_size: int | None = None

    def __init__(self, reader: FrameReader, centroids: np.ndarray, options: ActionOptions):
        self.reader, self.centroids = reader, centroids
        self.path, self.fps, self.columns, self.object_names = (
            reader.path,
            reader.fps,
            reader.columns,
            reader.object_names,
        )
        self.image_size, self.stored_sizes, self.state_size = reader.image_size, reader.stored_sizes, reader.state_size
        self.num_frames, self.episodes, self.recordings = reader.num_frames, reader.episodes, reader.recordings
        for name in OPTIONAL:
            if hasattr(reader, name):
                setattr(self, name, getattr(reader, name))
        stored = StoredNames(None if options.names else names_of(centroids, reader.action_meanings))
        self.ids: ActionIds | None = ActionIds(reader.path, list(range(len(centroids))), stored, options)
        self.action_meanings = self.ids.names

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        return self.reader.frames(start, stop, step)

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        rows = self.reader.column(name, start, stop)
        if name != "actions":
            return rows
        distances = np.square(rows[:, None] - self.centroids).sum(-1)  # [N, K]
        return distances.argmin(1)
