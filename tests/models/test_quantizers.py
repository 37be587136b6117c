import pytest
import torch
import torch.nn.functional as F

from genie.models.quantizers import FiniteScalarQuantizer, VectorQuantizer, build_quantizer, straight_through


def clusters(count=16, width=8, size=64, seed=0):
    """Latents [size, width] around `count` directions, and none anywhere else."""
    generator = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(count, width, generator=generator), dim=-1)
    centres[:, 0] = centres[:, 0].abs() + 0.5
    return centres[torch.arange(size) % count] + 0.02 * torch.randn(size, width, generator=generator)


def used(quantizer, latents):
    return len(quantizer.eval()(latents).codes.unique())


@pytest.mark.parametrize(("revive_after", "alive"), [(5, True), (0, False)])
def test_a_collapsed_codebook_revives(revive_after, alive):
    torch.manual_seed(0)
    quantizer, latents = VectorQuantizer(16, 8, revive_after=revive_after), clusters()
    with torch.no_grad():
        quantizer.codebook.copy_(-latents.mean(0) + 0.01 * quantizer.codebook)  # where no latent ever comes
        quantizer.codebook[3] = latents.mean(0)
    quantizer.initialized.fill_(True)
    assert used(quantizer, latents) == 1
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    for _ in range(100):
        quantizer.train()(latents).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert used(quantizer, latents) >= 14 if alive else used(quantizer, latents) == 1


def test_a_code_in_use_is_never_replaced_and_an_idle_one_at_its_time():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, 2, revive_after=3)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    quantizer.initialized.fill_(True)
    right, left = torch.tensor([[1.0, 0.1]]), torch.tensor([[-1.0, 0.1]])
    for latents in (right, right, left, right, right):  # never three times without the second
        quantizer(latents)
    torch.testing.assert_close(quantizer.codebook.data, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    quantizer(right)
    assert quantizer.codebook[0].tolist() == [1, 0]
    assert F.cosine_similarity(quantizer.codebook[1], right[0], dim=0) > 0.98


def test_the_codebook_starts_from_data_once():
    torch.manual_seed(0)
    quantizer, latents = VectorQuantizer(16, 8, revive_after=0), clusters()
    before = quantizer.codebook.clone()
    quantizer.eval()(latents)
    assert torch.equal(quantizer.codebook, before)  # looking does not change it
    quantizer.train()(latents)
    started = quantizer.codebook.clone()
    nearest = F.cosine_similarity(started[:, None], latents[None], dim=-1).amax(1)
    assert (nearest > 0.99).all()
    quantizer(-latents)
    assert torch.equal(quantizer.codebook, started)

    loaded = VectorQuantizer(16, 8, revive_after=0)
    loaded.load_state_dict(quantizer.state_dict())
    loaded.train()(-latents)
    assert torch.equal(loaded.codebook, started)


def test_evaluation_leaves_the_idle_counts_alone():
    quantizer, latents = VectorQuantizer(16, 8, revive_after=2), clusters()
    quantizer(latents)
    state = {name: value.clone() for name, value in quantizer.state_dict().items()}
    for _ in range(5):
        quantizer.eval()(latents[:1])
    assert all(torch.equal(value, state[name]) for name, value in quantizer.state_dict().items())


def test_vector_quantizer_takes_the_nearest_code_by_angle():
    quantizer = VectorQuantizer(5, 4).eval()
    with torch.no_grad():
        quantizer.codebook *= torch.tensor([1e-2, 1.0, 5.0, 100.0, 3.0])[:, None]  # lengths do not count
    latents = torch.randn(3, 7, 4)
    out = quantizer(latents)
    angles = F.cosine_similarity(latents[..., None, :], quantizer.codebook, dim=-1)
    assert torch.equal(out.codes, angles.argmax(-1))
    assert torch.equal(out.latents, quantizer.lookup(out.codes))  # to the last bit: nothing else gets through
    torch.testing.assert_close(out.latents.norm(dim=-1), torch.ones(3, 7))
    distance = (F.normalize(latents, dim=-1) - out.latents).square().sum(-1).mean()
    torch.testing.assert_close(out.loss, 1.25 * distance)


def test_loss_of_the_quantizer_moves_codes_and_latents_towards_each_other():
    pulls = []
    for commitment in (0.25, 2.0):
        quantizer = VectorQuantizer(2, 2, commitment=commitment).eval()
        with torch.no_grad():
            quantizer.codebook.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        latents = torch.tensor([[1.0, 1.0]], requires_grad=True)
        quantizer(latents).loss.backward()
        assert quantizer.codebook.grad[0, 1] < 0 < latents.grad[0, 1]  # code upwards, latent downwards
        assert quantizer.codebook.grad[1].abs().max() == 0
        pulls.append(latents.grad)
    torch.testing.assert_close(pulls[1], pulls[0] * 8)


def test_straight_through_gives_the_gradient_to_the_latents_alone():
    weight = torch.randn(6, 4)
    quantizer = VectorQuantizer(5, 4).eval()
    latents = torch.randn(6, 4, requires_grad=True)
    (quantizer(latents).latents * weight).sum().backward()
    assert quantizer.codebook.grad is None
    (expected,) = torch.autograd.grad((F.normalize(latents, dim=-1) * weight).sum(), latents)
    torch.testing.assert_close(latents.grad, expected)

    continuous, discrete = torch.tensor([0.1, 7e3], requires_grad=True), torch.tensor([0.3, -1e-3])
    out = straight_through(continuous, discrete)
    assert torch.equal(out, discrete)
    out.backward(torch.tensor([2.0, 3.0]))
    assert continuous.grad.tolist() == [2, 3]


def latents_of(quantizer, level, digit):
    """A number in the middle of those that the quantiser rounds to a digit, found by looking."""
    grid = torch.linspace(-6, 6, 4001)
    at = quantizer.digits.levels.index(level)
    latents = torch.zeros(len(grid), quantizer.width)
    latents[:, at] = grid
    digits = quantizer(latents).codes // quantizer.digits.bases[at] % level
    assert (digits.diff() >= 0).all() and digits.min() == 0 and digits.max() == level - 1
    return grid[digits == digit].median()


@pytest.mark.parametrize("levels", [[8, 8, 8], [3], [5, 4, 2]])
def test_fsq_codes_and_latents_are_the_same_thing(levels):
    quantizer = FiniteScalarQuantizer(levels)
    codes = torch.arange(quantizer.num_codes)
    latents = quantizer.lookup(codes)
    assert quantizer.num_codes == len(latents.unique(dim=0)) == torch.tensor(levels).prod()
    assert latents.min() == -1 and latents.max() == 1
    places = {level: torch.stack([latents_of(quantizer, level, digit) for digit in range(level)]) for level in levels}
    inputs = torch.stack(
        [places[level][((latents[:, i] + 1) / 2 * (level - 1)).round().long()] for i, level in enumerate(levels)],
        dim=-1,
    )
    out = quantizer(inputs)
    assert torch.equal(out.codes, codes)
    torch.testing.assert_close(out.latents, latents)
    assert out.loss == 0


def test_fsq_bounds_and_gradient():
    quantizer = FiniteScalarQuantizer([8, 3])
    far = torch.tensor([[-1e4, 1e4], [1e4, -1e4]])
    out = quantizer(far)
    assert out.latents.tolist() == [[-1, 1], [1, -1]]
    latents = torch.zeros(4, 2, requires_grad=True)
    quantizer(latents).latents.sum().backward()
    assert (latents.grad > 0.1).all()
    assert len(quantizer(torch.linspace(-3, 3, 99)[:, None].expand(99, 2)).codes.unique()) >= 8


def test_quantizers_stay_in_fp32_under_autocast():
    for quantizer in (VectorQuantizer(5, 4), FiniteScalarQuantizer([8, 8, 8, 8])):
        latents = torch.randn(64, 4)
        exact = quantizer.eval()(latents)
        with torch.autocast("cpu", torch.bfloat16):
            out = quantizer(latents)
        assert out.latents.dtype == out.loss.dtype == torch.float32
        assert torch.equal(out.latents, exact.latents) and torch.equal(out.codes, exact.codes)


def test_wrong_quantizers_are_refused():
    with pytest.raises(ValueError, match=r"levels=\[8, 8\].*num_codes=512"):
        build_quantizer("fsq", 512, 32, [8, 8])
    with pytest.raises(ValueError, match="levels=None"):
        build_quantizer("fsq", 512, 32)
    with pytest.raises(ValueError, match="quantizer='lfq'"):
        build_quantizer("lfq", 512, 32)
    with pytest.raises(ValueError, match="at least 2"):
        FiniteScalarQuantizer([8, 1])
    with pytest.raises(ValueError, match="num_codes=1"):
        VectorQuantizer(1)
