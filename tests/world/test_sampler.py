import math

import pytest
import torch

from genie.common.random import FrameNoise
from genie.world.sampler import Sampler

MASK = 8  # K: codes 0 … 7


def noise(batch=1, seed=0, age=0):
    return FrameNoise(seed * 1000 + torch.arange(batch), torch.full((batch,), age))


class Spy:
    """Fixed logits [S, K] (or one per row: [B, S, K]), and what was asked about them."""

    def __init__(self, logits):
        self.logits, self.seen, self.asked = logits, [], []

    def __call__(self, tokens, asked):
        self.seen.append(tokens.clone())
        self.asked.append(asked)
        logits = self.logits.expand(len(tokens), *self.logits.shape[-2:])
        return logits if asked is None else logits.gather(1, asked[..., None].expand(-1, -1, logits.shape[-1]))

    def run(self, batch=1, seed=0, **settings):
        """(tokens, passes, entropy)"""
        return Sampler(**settings).sample(self, noise(batch, seed), self.logits.shape[-2], self.logits.shape[-1])

    def sample(self, **settings):
        return self.run(**settings)[0]


@pytest.mark.parametrize(("size", "steps"), [(64, 8), (64, 25), (7, 3), (16, 25), (5, 1), (1, 4)])
@pytest.mark.parametrize("order", ["confidence", "random"])
def test_every_token_is_revealed_once_on_a_cosine_schedule(size, steps, order):
    spy = Spy(torch.randn(size, 8))
    tokens = spy.sample(batch=3, steps=steps, order=order)
    unknown = [(seen == MASK).sum(1).tolist() for seen in spy.seen]
    counts = [math.floor(size * math.cos(math.pi / 2 * i / steps)) for i in range(steps)]
    assert unknown == [[count] * 3 for count in dict.fromkeys(counts) if count]  # no pass that reveals nothing
    assert tokens.min() >= 0 and tokens.max() < MASK
    for earlier, later in zip(spy.seen, [*spy.seen[1:], tokens], strict=True):
        known = earlier != MASK
        assert torch.equal(earlier[known], later[known])


def reveal_order(spy, final):
    """For each token of the first sample the pass that revealed it."""
    return sum((seen[0] == MASK).int() for seen in [*spy.seen, final])


def test_the_surest_tokens_come_first_wherever_they_are():
    confidence = (1 + torch.randperm(32)).float() / 8
    logits = torch.zeros(32, 8)
    logits[:, 3] = confidence
    spy = Spy(logits)
    tokens = spy.sample(steps=8, temperature=0.0)
    assert (tokens == 3).all()
    order = reveal_order(spy, tokens)
    by_confidence = order[confidence.argsort(descending=True)]
    assert (by_confidence.diff() >= 0).all() and len(order.unique()) == 8
    assert (order.diff() < 0).any()  # not from top left to bottom right


def test_confidence_is_read_from_the_undivided_logits():
    # The likeliest tokens have probabilities 0.5 and 0.79; divided by 10 they would have 0.47 and 0.38.
    torn, sure = torch.tensor([1.0, 1, -20]), torch.tensor([2.0, 0, 0])
    spy = Spy(torch.stack([torn, sure]))
    spy.sample(batch=1000, steps=2, temperature=10.0)
    sure_first = (spy.seen[1][:, 1] < 3).float().mean()
    # it comes first where its likeliest token was drawn (0.38) or the other place's least likely one (0.06)
    assert 0.36 < sure_first < 0.47


def test_random_order_does_not_look_at_the_logits_and_ignores_the_temperature():
    confident = torch.zeros(40, 8)
    confident[:, 1] = torch.linspace(0, 20, 40)
    orders = {}
    for name, logits, temperature in [("sure", confident, 0.0), ("flat", torch.zeros(40, 8), 0.0)]:
        spy = Spy(logits)
        orders[name] = reveal_order(spy, spy.sample(steps=6, order="random", temperature=temperature))
    assert torch.equal(orders["sure"], orders["flat"])
    halves = orders["sure"][:20].float().mean(), orders["sure"][20:].float().mean()
    assert abs(halves[0] - halves[1]) < 2  # by confidence all of the second half comes first


def test_the_temperature_is_that_of_the_distribution_drawn_from():
    logits = torch.tensor([3.0, 2, 1, 0, 0, 0, -1, -9]).expand(20_000, 8)
    entropies = []
    for temperature in (0.5, 1.0, 2.0, 50.0):
        drawn = Spy(logits).sample(steps=1, temperature=temperature).flatten()
        shares = drawn.bincount(minlength=8) / len(drawn)
        torch.testing.assert_close(shares, (logits[0] / temperature).softmax(-1), atol=0.012, rtol=0)
        entropies.append(-(shares * shares.clamp_min(1e-9).log()).sum())
    assert entropies == sorted(entropies) and entropies[-1] > 2.05 > 1.0 > entropies[0]
    assert (Spy(logits).sample(steps=1, temperature=0.0) == 0).all()


@pytest.mark.parametrize("order", ["confidence", "random"])
def test_all_randomness_comes_from_the_seeds(order):
    logits = torch.randn(30, 8)
    before = torch.get_rng_state()
    first, again, other = (Spy(logits).sample(batch=2, steps=4, order=order, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])  # samples of a batch differ


def test_what_is_revealed_is_told_to_the_model():
    """The second half of the tokens repeats what the model sees of the first half: only feedback can do that."""

    def predict(tokens, asked):
        logits = torch.zeros(1, 16, 8)
        logits[:, :8] += 5 * torch.eye(8)[torch.arange(8)]  # the first half: 0 … 7, sure
        known = torch.where(tokens[:, :8] < MASK, 7 - tokens[:, :8].clamp(max=7), 0)
        logits[:, 8:] += 3 * torch.nn.functional.one_hot(known, 8)
        return logits if asked is None else logits.gather(1, asked[..., None].expand(-1, -1, 8))

    tokens = Sampler(steps=3, temperature=0.0).sample(predict, noise(), 16, MASK)[0]
    assert tokens[0, :8].tolist() == list(range(8)) and tokens[0, 8:].tolist() == list(range(7, -1, -1))


def test_settings_that_make_no_sense():
    for settings, words in [
        ({"steps": 0}, "steps=0"),
        ({"temperature": -1}, "temperature=-1"),
        ({"order": "x"}, "'x'"),
        ({"entropy_bound": -0.1}, "entropy_bound=-0.1"),
    ]:
        with pytest.raises(ValueError, match=words):
            Sampler(**settings)


def test_only_unknown_tokens_are_asked_for():
    spy = Spy(torch.randn(64, 8))
    _, passes, _ = spy.run(batch=3, steps=6)
    assert passes.tolist() == [len(spy.seen)] * 3 == [6] * 3
    assert spy.asked[0] is None
    for seen, asked in zip(spy.seen[1:], spy.asked[1:], strict=True):
        for row in range(3):
            assert sorted(asked[row].tolist()) == (seen[row] == MASK).nonzero()[:, 0].tolist()


def test_a_row_draws_the_same_alone_and_in_a_batch():
    logits = torch.randn(5, 64, 8)
    for settings in ({"steps": 4}, {"steps": 9, "entropy_bound": 1.2}, {"steps": 4, "order": "random"}):
        together = Spy(logits).sample(batch=5, **settings)
        alone = Sampler(**settings).sample(Spy(logits[3:4]), FrameNoise(torch.tensor([3]), torch.tensor([0])), 64, 8)[0]
        assert torch.equal(together[3:4], alone)


# -- adaptive --------------------------------------------------------------------------------------------------------


def quiet(sure, size=64):
    """Logits of which the first `sure` places are nearly certain and the others flat."""
    logits = torch.zeros(size, 8)
    logits[:sure, 5] = 12.0
    return logits


def test_what_fits_the_bound_stays_at_once():
    spy = Spy(quiet(60))
    tokens, passes, _ = spy.run(steps=32, entropy_bound=0.1, temperature=1.0)
    after_first = spy.seen[1] != MASK
    assert after_first[0, :60].all() and after_first.sum() == 60  # the flat ones wait, whatever they drew
    assert (tokens[0, :60] == 5).all()
    everything, one, _ = Spy(quiet(64)).run(steps=32, entropy_bound=0.1)
    assert one.tolist() == [1] and (everything < MASK).all()
    assert passes > 1


def test_without_a_fit_the_schedule_decides():
    spy, plain = Spy(quiet(0)), Spy(quiet(0))
    tokens, passes, _ = spy.run(steps=8, entropy_bound=1.0)
    assert torch.equal(tokens, plain.sample(steps=8)) and passes.tolist() == [8]
    assert all(torch.equal(*pair) for pair in zip(spy.seen, plain.seen, strict=True))


def test_a_larger_bound_takes_fewer_passes():
    logits = torch.randn(64, 8) * torch.linspace(0, 8, 64)[:, None]
    passes = [int(Spy(logits).run(steps=64, entropy_bound=bound)[1]) for bound in (0.01, 0.5, 1.5, 3.0)]
    assert passes == sorted(passes, reverse=True) and passes[0] > passes[1] > passes[2] > passes[3] == 1


def test_some_progress_is_made_in_every_pass():
    """The schedule asks for few tokens at first: what does not fit must not wait for it."""
    _, passes, _ = Spy(quiet(60)).run(steps=25, entropy_bound=0.1)
    assert passes.tolist() == [5]  # 60 at once, then the other four one by one


def test_rows_take_the_passes_that_they_need():
    spy = Spy(torch.stack([quiet(64), quiet(30), quiet(0)]))
    tokens, passes, _ = spy.run(batch=3, steps=6, entropy_bound=0.1, temperature=1.0)
    assert passes[0] == 1 and passes[2] == 6 and 1 < passes[1] <= 6
    assert (tokens < MASK).all()
    for earlier, later in zip(spy.seen, [*spy.seen[1:], tokens], strict=True):
        known = earlier != MASK
        assert torch.equal(earlier[known], later[known])


def test_entropy_is_that_of_the_undivided_logits():
    logits = torch.zeros(8, 8)
    logits[:, 2] = 4.0  # 0.58 nats; 2.0 of the logits divided by 4
    assert Spy(logits).run(steps=5, entropy_bound=0.6, temperature=4.0)[1].tolist() == [1]
    assert Spy(logits).run(steps=5, entropy_bound=0.5, temperature=0.1)[1].tolist() == [5]


def test_the_entropy_is_that_of_each_token_when_it_was_drawn():
    logits = torch.randn(12, 8)

    def entropy(values):
        return -(values.softmax(-1) * values.log_softmax(-1)).sum(-1)

    at_once = Spy(logits).run(batch=2, steps=1, temperature=3.0)[2]  # of the model, whatever the temperature
    assert torch.allclose(at_once, entropy(logits).mean().expand(2))

    class Surer(Spy):
        """Twice as sure in each further pass."""

        def __call__(self, tokens, asked):
            return 2 ** len(self.seen) * super().__call__(tokens, asked)

    for settings in ({"steps": 4}, {"steps": 6, "entropy_bound": 1.2}, {"steps": 4, "order": "random"}):
        spy = Surer(logits)
        final, _, found = spy.run(**settings)
        revealed = reveal_order(spy, final)  # counted from 1
        expected = torch.stack(
            [entropy(2.0 ** (int(number) - 1) * logits[place]) for place, number in enumerate(revealed)]
        )
        assert torch.allclose(found[0], expected.mean(), atol=1e-6), settings
