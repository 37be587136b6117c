import pytest
import torch

from genie.stages.masking import (
    choose_places,
    expected_masked,
    expected_masked_after_clean,
    mask_after_clean,
    mask_tokens,
)

CODES = 50


def tokens(batch=64, frames=6, size=40):
    return torch.randint(CODES, (batch, frames, size))


def seeds(batch=64, first=0):
    return torch.arange(first, first + batch)


def test_the_first_frame_is_never_masked_and_every_sample_has_something_to_guess():
    for rate in [(0.5, 1.0), (1e-6, 1e-6), (1.0, 1.0)]:
        mask = mask_tokens(tokens(), seeds(), CODES, rate, clean_prefix=0.5).mask
        assert not mask[:, 0].any()
        assert mask.flatten(1).any(1).all()
    assert mask[:, -1].all()  # a rate of 1


def test_the_rate_is_uniform_between_its_bounds():
    share = mask_tokens(tokens(400), seeds(400), CODES, (0.5, 1.0)).mask[:, 1:].float().mean((1, 2))
    noise = 0.15  # of 200 Bernoulli draws
    assert 0.5 - noise < share.min() < 0.55 and share.max() > 0.97
    assert 0.72 < share.mean() < 0.78 and 0.12 < share.std() < 0.17  # uniform: 0.75 and 0.144
    share = mask_tokens(tokens(100), seeds(100), CODES, (0.2, 0.3)).mask[:, 1:].float().mean((1, 2))
    assert 0.2 - noise < share.min() and share.max() < 0.3 + noise


def test_masks_are_a_function_of_the_seed_alone():
    options = {"mask_rate": (0.5, 1.0), "clean_prefix": 0.5, "corruption": 0.3}
    data = tokens(8)
    together = mask_tokens(data, seeds(8, 100), CODES, **options)
    torch.manual_seed(123)  # whatever ran before
    order = torch.tensor([5, 2, 7])
    apart = mask_tokens(data[order], seeds(8, 100)[order], CODES, **options)
    assert torch.equal(apart.mask, together.mask[order])
    assert torch.equal(apart.inputs, together.inputs[order])
    others = mask_tokens(tokens(8), seeds(8, 100), CODES, **options)
    assert torch.equal(others.mask, together.mask)  # nor of what the tokens are

    elsewhere = mask_tokens(data, seeds(8, 200), CODES, **options).mask
    assert not any(torch.equal(a, b) for a in together.mask for b in elsewhere)
    assert len({mask.numpy().tobytes() for mask in together.mask}) == 8


def test_context_is_corrupted_at_the_asked_rate_and_nothing_else_is():
    data = tokens(200)
    clean = mask_tokens(data, seeds(200), CODES)
    assert torch.equal(clean.inputs, data)
    corrupt = mask_tokens(data, seeds(200), CODES, corruption=0.4)
    assert torch.equal(corrupt.mask, clean.mask)  # the mask does not depend on it
    wrong = corrupt.inputs != data
    assert not (wrong & corrupt.mask).any()
    share = (wrong & ~corrupt.mask).flatten(1).sum(1) / (~corrupt.mask).flatten(1).sum(1)
    assert 0.15 < share.mean() < 0.25  # U(0, 0.4), a 50th of which hits the same token again
    assert share.min() < 0.05 and 0.3 < share.max() < 0.55
    assert wrong[:, 0].any()  # the prompt too
    assert corrupt.inputs.min() >= 0 and corrupt.inputs.max() < CODES


def test_clean_prefix_leaves_whole_frames():
    def first_masked(clean_prefix):
        mask = mask_tokens(tokens(300), seeds(300), CODES, clean_prefix=clean_prefix).mask
        return mask.any(2).int().argmax(1)

    assert (first_masked(0) == 1).all()
    always = first_masked(1)
    assert set(always.tolist()) == {1, 2, 3, 4, 5}
    assert always.bincount().max() < 100  # evenly
    assert 0.3 < (first_masked(0.5) > 1).float().mean() < 0.5  # 0.5 · 4/5


def test_wrong_rates():
    for rate in [(0, 1), (0.6, 0.5), (0.5, 1.1)]:
        with pytest.raises(ValueError, match="mask_rate="):
            mask_tokens(tokens(1), seeds(1), CODES, rate)


@pytest.mark.parametrize("clean_prefix", [0.0, 0.4])
@pytest.mark.parametrize("rate", [(0.5, 1.0), (0.3, 0.3), (0.01, 0.05)])
def test_the_expected_number_of_masked_tokens_is_their_mean(rate, clean_prefix):
    clips = torch.zeros(4000, 4, 6, dtype=torch.int64)
    counts = mask_tokens(clips, seeds(4000), CODES, rate, clean_prefix).mask.sum((1, 2)).double()
    error = counts.std() / 4000**0.5
    assert abs(counts.mean() - expected_masked(4, 6, rate, clean_prefix)) < 4 * error


def test_after_a_clean_context_every_frame_has_masks_of_its_own():
    data = tokens(200)
    masked = mask_after_clean(data, seeds(200), CODES, (0.5, 1.0), whole_frames=0.3)
    share = masked.mask.float().mean(2)  # [B, T]
    assert (share[:, 0] == 0).all()
    assert (share[:, 1:] == 1).float().mean() > 0.25  # those masked whole, and those whose rate is close to 1
    assert share[:, 1:].std(1).mean() > 0.1  # not one rate for all frames of a clip
    assert torch.equal(masked.context, data) and torch.equal(masked.inputs, data)
    never = mask_after_clean(data, seeds(200), CODES, (0.5, 0.6), whole_frames=0.0)
    assert 0.5 < never.mask[:, 1:].float().mean() < 0.6


def test_after_a_clean_context_what_is_seen_is_corrupted_and_what_is_to_be_guessed_is_not():
    data = tokens(100)
    masked = mask_after_clean(data, seeds(100), CODES, (0.5, 0.5), whole_frames=0.0, corruption=0.4)
    for seen in (masked.context, masked.inputs):
        wrong = (seen != data).float().mean((1, 2))
        assert 0.05 < wrong.mean() < 0.3 and wrong.std() > 0.02  # a rate for each sample
    assert torch.equal(masked.inputs[masked.mask], data[masked.mask])
    assert not torch.equal(masked.context[~masked.mask], masked.inputs[~masked.mask])  # drawn apart


def test_masks_after_a_clean_context_are_those_of_the_sample():
    options = {"mask_rate": (0.5, 1.0), "whole_frames": 0.3, "corruption": 0.3}
    data, order = tokens(8), torch.randperm(8)
    together = mask_after_clean(data, seeds(8, 100), CODES, **options)
    apart = mask_after_clean(data[order], seeds(8, 100)[order], CODES, **options)
    for name in ("inputs", "mask", "context"):
        assert torch.equal(getattr(together, name)[order], getattr(apart, name))
    elsewhere = mask_after_clean(data, seeds(8, 200), CODES, **options)
    assert not torch.equal(elsewhere.mask, together.mask)


@pytest.mark.parametrize("rate", [(0.05, 0.3), (0.1, 0.1), (0.5, 1.0)])
@pytest.mark.parametrize("whole_frames", [0.0, 0.3])
def test_the_expected_number_of_masked_tokens_after_a_clean_context_is_their_mean(rate, whole_frames):
    clips = torch.zeros(4000, 3, 4, dtype=torch.int64)
    counts = mask_after_clean(clips, seeds(4000), CODES, rate, whole_frames).mask.sum((1, 2)).double()
    error = counts.std() / len(counts) ** 0.5
    assert abs(counts.mean() - expected_masked_after_clean(3, 4, rate, whole_frames)) < 4 * error


def moving(batch=60, frames=5, size=40, places=9):
    """Clips in which some places change, others for each clip; and bool [B, S], which."""
    clips = torch.randint(CODES, (batch, 1, size)).repeat(1, frames, 1)
    moves = torch.rand(batch, size).argsort(1) < places
    clips[:, 2] = torch.where(moves, (clips[:, 2] + 1) % CODES, clips[:, 2])
    return clips, moves


def test_places_that_change_are_chosen_and_others_stand_for_the_rest():
    clips, moves = moving()
    thin = choose_places(clips, seeds(60), 15)
    assert thin.places.shape == (60, 15) and all(len(set(row)) == 15 for row in thin.places.tolist())
    chosen = torch.zeros_like(moves).scatter(1, thin.places, True)
    assert chosen[moves].all()
    changes = moves.gather(1, thin.places)
    assert (thin.counts[changes] == 1).all()
    torch.testing.assert_close(thin.counts.sum(1), torch.full((60,), 40.0))
    share = (chosen & ~moves).sum(0) / (~moves).sum(0)  # of the others each is as likely as the next
    assert abs(share.mean() - 6 / 31) < 0.01 and share.max() < 0.5
    order = torch.randperm(60)
    again = choose_places(clips[order], seeds(60)[order], 15)
    assert torch.equal(again.places, thin.places[order])
    assert not torch.equal(choose_places(clips, seeds(60, 500), 15).places, thin.places)


def test_where_everything_changes_all_places_are_as_likely():
    clips, _ = moving(400, places=36)
    thin = choose_places(clips, seeds(400), 15)
    assert (thin.counts == 40 / 15).all()
    share = torch.bincount(thin.places.flatten(), minlength=40) / 400
    assert (share - 15 / 40).abs().max() < 0.12


def test_figures_of_the_chosen_places_are_on_average_those_of_all():
    clips, moves = moving(1)
    values = torch.rand(40)
    found = []
    for seed in range(400):
        thin = choose_places(clips, torch.tensor([seed]), 12)
        found.append((values[thin.places] * thin.counts).sum())
    found = torch.stack(found)
    assert abs(found.mean() - values.sum()) < 4 * found.std() / len(found) ** 0.5
