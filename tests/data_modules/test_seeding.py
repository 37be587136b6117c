"""The order of the batches is a function of (seed, step) and of nothing else."""

from itertools import islice

import pytest

from data_modules.seeding import StepBatchSampler, mix
from genie.errors import UserError


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
    seeds = {mix(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix(1, 2) != mix(2, 1) and mix(0) != mix(0, 0)
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


def test_too_few_clips_for_a_batch_are_the_users_mistake():
    with pytest.raises(UserError, match="7 clips .* batch of 4 on each of 2"):
        StepBatchSampler(7, 4, 0, 2, lambda: 0, 0)
