"""The order of the batches is a function of (seed, step) and of nothing else."""

from itertools import islice

import pytest

from data_modules.seeding import Place, StepBatchSampler
from genie.common.errors import UserError
from genie.common.random import fold_in


def batches(count, num_samples=50, batch_size=4, rank=0, world_size=1, start=0, seed=0):
    """The first `count` batches from batch `start` on, over as many epochs as that takes."""
    position = start
    sampler = StepBatchSampler(num_samples, batch_size, rank, world_size, lambda: position, seed)
    result = []
    while len(result) < count:
        new = list(islice(sampler, count - len(result)))
        position += len(new)
        result += new
    return result


def test_mix_tells_close_inputs_apart():
    seeds = {fold_in(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert fold_in(1, 2) != fold_in(2, 1) and fold_in(0) != fold_in(0, 0)
    halves = sum(seed >> 62 for seed in seeds)  # the top bit is as good as a coin
    assert 400 < halves < 600


def test_resuming_at_any_batch_gives_the_tail():
    whole = batches(40)
    for start in (1, 5, 11, 12, 13, 30):
        assert batches(40 - start, start=start) == whole[start:]


def test_an_epoch_has_each_clip_at_most_once_and_epochs_differ():
    whole = batches(24, num_samples=48)
    first, second = ([index for batch in part for _, index in batch] for part in (whole[:12], whole[12:]))
    assert sorted(first) == sorted(second) == list(range(48))
    assert first != second
    assert {epoch for batch in whole[:12] for epoch, _ in batch} == {0}
    assert {epoch for batch in whole[12:] for epoch, _ in batch} == {1}
    assert batches(12, num_samples=48, seed=1) != whole[:12]


def test_ranks_share_the_batch_of_a_single_rank():
    single = batches(20, batch_size=6)
    shares = [batches(20, batch_size=2, rank=rank, world_size=3) for rank in range(3)]
    for step in range(20):
        parts = [set(share[step]) for share in shares]
        assert sum(map(len, parts)) == 6 and set.union(*parts) == set(single[step])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((4, 1, 1), (2, 2, 1), id="the same batch on two ranks"),
        pytest.param((4, 1, 1), (2, 1, 2), id="the same step in two batches"),
        pytest.param((2, 1, 1), (3, 2, 1), id="larger batches"),
        pytest.param((4, 2, 1), (1, 1, 3), id="smaller batches, three a step"),
    ],
)
@pytest.mark.parametrize("stop", [0, 3, 6, 7, 16])
def test_with_other_batches_the_next_clips_are_those_that_would_have_been_next(before, after, stop):
    def clips(settings, first, count, start):
        size, world_size, accumulate = settings
        samplers = [
            StepBatchSampler(50, size, rank, world_size, lambda: first, 0, accumulate, start)
            for rank in range(world_size)
        ]
        batches = zip(*(islice(sampler, count) for sampler in samplers), strict=True)
        order = [[part[i] for i in range(size) for part in parts] for parts in batches]  # ranks take turns
        return samplers[0], [clip for batch in order for clip in batch]

    sampler, _ = clips(before, 0, 0, Place())
    left = sampler.place(stop)
    _, seen = clips(before, 0, stop, Place())
    everything = [(left.epoch, index) for index in permutation(left.epoch)]
    size, world_size, accumulate = after
    rest = (50 - left.offset) // (size * world_size * accumulate) * accumulate  # batches of this epoch
    _, following = clips(after, 77, rest + 1, Place(left.epoch, left.offset, 77))
    own = [clip for clip in following if clip[0] == left.epoch]
    assert own == everything[left.offset : left.offset + rest * size * world_size]
    assert not {*seen} & {*own}
    following = [clip for clip in following if clip[0] != left.epoch]
    assert following == [(left.epoch + 1, index) for index in permutation(left.epoch + 1)][: size * world_size]


def permutation(epoch):
    return [index for ((_, index),) in islice(StepBatchSampler(50, 1, 0, 1, lambda: 50 * epoch, 0), 50)]


def test_every_batch_is_where_its_number_says():
    for start in (Place(), Place(2, 17, 5)):
        sampler = StepBatchSampler(50, 2, 0, 3, lambda: start.batch, 0, 2, start)  # noqa: B023
        for number, batch in enumerate(islice(sampler, 40), start.batch):
            place = sampler.place(number)
            assert batch[0] == (place.epoch, permutation(place.epoch)[place.offset])


def test_too_few_clips_for_a_batch_are_the_users_mistake():
    with pytest.raises(UserError, match="7 clips .* batch of 4 on each of 2"):
        StepBatchSampler(7, 4, 0, 2, lambda: 0, 0)
