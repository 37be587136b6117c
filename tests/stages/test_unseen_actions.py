import pytest
import torch

from genie.stages.encoded import VISITS, nearest_seen, unseen_actions, with_unseen


def corridor(steps=6000, length=5):
    """A walk between two walls: the place [N, 1], and what was seen to happen, -1, 0 or 1 as 0, 1, 2."""
    generator = torch.Generator().manual_seed(0)
    places, moves, at = [], [], 2
    for push in torch.randint(-1, 2, (steps,), generator=generator).tolist():
        new = min(max(at + push, 0), length - 1)
        places.append(at)
        moves.append(new - at + 1)  # at a wall a push is never seen
        at = new
    return torch.tensor(places)[:, None], torch.tensor(moves)


def first_of(places):
    first = torch.zeros(len(places), dtype=torch.bool)
    first[0] = True
    return first


def test_what_cannot_happen_at_a_wall_is_unseen_there_and_nowhere_else():
    places, moves = corridor()
    unseen = unseen_actions(places, moves, torch.ones(len(places), dtype=torch.bool), first_of(places), 3)
    assert torch.equal(unseen, torch.stack([places[:, 0] == 0, torch.zeros(6000).bool(), places[:, 0] == 4], 1))


def test_noise_in_the_actions_is_forgiven_and_what_is_rare_is_not_unseen():
    places, moves = corridor()
    known, at_wall = torch.ones(len(places), dtype=torch.bool), torch.nonzero(places[:, 0] == 0)[:, 0]
    moves[at_wall[: len(at_wall) // 300]] = 0
    assert unseen_actions(places, moves, known, first_of(places), 3)[at_wall, 0].all()
    moves[at_wall[: len(at_wall) // 50]] = 0
    assert not unseen_actions(places, moves, known, first_of(places), 3)[at_wall, 0].any()


def test_a_token_that_rarely_comes_up_tells_nothing_however_long_it_stays():
    places = torch.arange(VISITS - 1).repeat_interleave(100)[:, None] % 2  # 0 comes up on 50 occasions of 100 frames
    actions = torch.zeros(len(places), dtype=torch.int64)
    known = torch.ones(len(places), dtype=torch.bool)
    assert not unseen_actions(places, actions, known, first_of(places), 2).any()
    often = torch.arange(2 * VISITS)[:, None] % 2
    unseen = unseen_actions(often, actions[: len(often)], known[: len(often)], first_of(often), 2)
    assert unseen[:, 1].all() and not unseen[:, 0].any()


def test_rows_without_an_action_count_for_nothing():
    places, moves = corridor()
    known = torch.rand(len(places), generator=torch.Generator().manual_seed(1)) < 0.8
    garbage = torch.where(known, moves, 0)  # as behind the end of an episode
    unseen = unseen_actions(places, garbage, known, first_of(places), 3)
    assert torch.equal(unseen[:, 0], places[:, 0] == 0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_nearest_that_was_seen_takes_its_place(scale):
    line = scale * torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
    unseen = torch.tensor([[False, False, True], [True, False, True], [True, True, False], [True] * 3, [False] * 3])
    nearest = nearest_seen(unseen, line, torch.tensor([5.0, 1.0, 9.0]))
    assert nearest.tolist() == [[0, 1, 1], [1, 1, 1], [2, 2, 2], [0, 1, 2], [0, 1, 2]]
    middle = torch.tensor([[False, True, False]])  # as near to both: the one that is taken more often
    assert nearest_seen(middle, line, torch.tensor([5.0, 1.0, 9.0])).tolist() == [[0, 2, 2]]
    assert nearest_seen(middle, line, torch.tensor([9.0, 1.0, 5.0])).tolist() == [[0, 0, 2]]


def test_an_action_is_trained_as_itself_and_as_those_that_it_stands_for():
    nearest = torch.tensor([[0, 1, 1], [0, 1, 2]], dtype=torch.int16).expand(3000, 2, 3)
    actions, seeds = torch.ones(3000, 2, dtype=torch.int64), torch.arange(3000)
    trained = with_unseen(actions, nearest, seeds)
    shares = torch.bincount(trained[:, 0], minlength=3) / 3000
    assert shares[0] == 0 and abs(shares[1] - 0.5) < 0.04 and (trained[:, 1] == 1).all()
    order = torch.randperm(3000)
    assert torch.equal(with_unseen(actions, nearest, seeds[order]), trained[order])
    unlikely = torch.full_like(actions, 2)  # taken in spite of all
    assert (with_unseen(unlikely, nearest, seeds)[:, 0] == 2).all()
