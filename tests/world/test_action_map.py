"""What latent actions mean, from a few labelled transitions."""

from types import SimpleNamespace

import pytest
import torch

from genie.common.errors import UserError
from genie.world.action_map import ActionMap, fit_action_map

MEANING = torch.tensor([2, 0, 1])  # of the latent actions of `Reader`


class Reader:
    """A latent action model that reads the true action, under names of its own, from a pixel."""

    num_actions = 4  # one of which never comes

    @staticmethod
    def encode(frames):
        true = (frames[:, :-1, 0, 0, 0] * 255).round().long()
        return MEANING.argsort()[true]


class Clips:
    """20 clips of 5 frames of 1x1 pixels that show the action that is taken."""

    num_frames = 5
    reader = SimpleNamespace(
        path="mine.h5", columns=["actions"], action_meanings=["stay", "up", "down"], ids=SimpleNamespace(count=3)
    )

    def __init__(self):
        self.read = []

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.read.append(index)
        actions = torch.randint(3, (5,), generator=torch.Generator().manual_seed(index))
        return {"frames": actions[:, None, None, None].expand(-1, 3, 1, 1).to(torch.uint8), "actions": actions}


def world(**changed):
    return SimpleNamespace(
        **{"takes_environment_actions": False, "lam": Reader, "device": torch.device("cpu")} | changed
    )


def test_the_most_frequent_partner_each_way():
    latent = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2])
    true = torch.tensor([1, 1, 0, 0, 0, 2, 0, 2])
    table = ActionMap.fit(latent, true, num_latent=4, num_true=4)
    assert table.counts.tolist() == [[1, 2, 0, 0], [3, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert table.to_true(torch.tensor([3, 2, 1, 0])).tolist() == [0, 2, 0, 1]  # 3 never came: the commonest of all
    assert table.to_latent(torch.tensor([0, 1, 2, 3])).tolist() == [1, 0, 1, 1]


def test_it_is_learned_from_labels_alone():
    clips = Clips()
    table = fit_action_map(world(), clips, num_labels=30, seed=0)
    assert table.counts.sum() == 30 and len(clips.read) == 8  # no more clips than the labels need
    assert table.to_true(torch.arange(3)).tolist() == MEANING.tolist()
    assert torch.equal(table.to_latent(MEANING), torch.arange(3))
    others = Clips()
    assert torch.equal(fit_action_map(world(), others, 30, seed=0).counts, table.counts)
    assert fit_action_map(world(), others, 30, seed=1) and others.read[8:] != others.read[:8]


def test_a_world_of_true_actions_needs_no_map():
    table = fit_action_map(world(takes_environment_actions=True), Clips(), 30, 0)
    for actions in (torch.tensor([2, 0]), torch.tensor([[0.5], [-1.0]])):
        assert torch.equal(table.to_true(actions), actions) and torch.equal(table.to_latent(actions), actions)


def test_what_cannot_be_learned_is_one_line():
    with pytest.raises(UserError, match="no latent action model"):
        fit_action_map(world(lam=None), Clips(), 30, 0)
    with pytest.raises(UserError, match="^labels=81: these clips have 80 labelled transitions"):
        fit_action_map(world(), Clips(), 81, 0)
    clips = Clips()
    clips.reader = SimpleNamespace(path="mine.h5", columns=[])
    with pytest.raises(UserError, match="mine.h5 records no actions"):
        fit_action_map(world(), clips, 30, 0)
