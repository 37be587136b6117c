import torch

from genie.common.random import FrameNoise, Stream, derive, fold_in, row_seeds, scramble

CPU = torch.device("cpu")


def reference(x):
    """splitmix64 in unbounded integers."""
    most = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & most
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & most
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & most
    return x ^ (x >> 31)


def test_the_published_values_of_splitmix64():
    inputs = [0, 1, 1234567, 2**63 - 1]
    expected = [value - 2**64 if value >= 2**63 else value for value in map(reference, inputs)]
    assert scramble(torch.tensor(inputs)).tolist() == expected
    assert reference(0) == 0xE220A8397B1DCDAF  # the first output of the generator seeded with 0


def test_a_seed_of_whole_numbers_is_that_of_tensors():
    seeds, numbers = [0, 1, 77, 2**62], [0, 1, 12345, Stream.MOVED_SCENE]
    for seed in seeds:
        expected = derive(torch.tensor(seed), torch.tensor(numbers)) & (2**63 - 1)
        assert [fold_in(seed, number) for number in numbers] == expected.tolist()
    assert fold_in(3, -1) == fold_in(3, 2**64 - 1)


def test_streams_are_unlike_each_other_and_all_counts():
    assert min(Stream) >= 2**32 and len({stream.value for stream in Stream}) == len(Stream.__members__)
    drawn = {fold_in(5, number) for number in (*Stream, *range(1000))}
    assert len(drawn) == len(Stream) + 1000


def test_uniform_draws_are_uniform_and_independent():
    noise = FrameNoise(torch.arange(50), torch.arange(50) % 7)
    draws = torch.stack([noise.uniform(number, 400) for number in range(4)])  # [passes, B, S]
    assert draws.min() >= 0 and draws.max() < 1
    shares = torch.histc(draws, 20, 0, 1) / draws.numel()
    assert (shares - 0.05).abs().max() < 0.005
    flat = draws.reshape(4, -1)
    correlations = torch.corrcoef(torch.cat([flat, flat.roll(1, 1)])) - torch.eye(8)
    assert correlations.abs().max() < 0.03


def test_seed_frame_pass_place_and_stream_each_matter():
    def draw(seed=1, age=2, number=3, stream="token"):
        return FrameNoise(torch.tensor([seed]), torch.tensor([age])).uniform(number, 6, stream)

    same = draw()
    assert torch.equal(same, draw()) and len(same.unique()) == 6
    for other in ({"seed": 2}, {"age": 3}, {"number": 4}, {"stream": "order"}):
        assert not torch.isin(draw(**other), same).any()
    longer = FrameNoise(torch.tensor([1]), torch.tensor([2])).uniform(3, 9)
    assert torch.equal(longer[:, :6], same)


def test_rows_of_one_seed_differ_and_given_seeds_are_taken():
    seeds = row_seeds(5, 4, CPU)
    assert len(seeds.unique()) == 4 and torch.equal(seeds[:2], row_seeds(5, 2, CPU))
    assert not torch.isin(row_seeds(6, 4, CPU), seeds).any()
    given = torch.tensor([fold_in(1), fold_in(2)])
    assert torch.equal(row_seeds(given, 2, CPU), given)
    assert torch.equal(row_seeds(given[0], 3, CPU), given[:1].expand(3))
    assert not torch.equal(derive(given, 0), derive(given, 1))
