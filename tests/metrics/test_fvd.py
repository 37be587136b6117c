"""FVD and KVD: published values, exact ones, and what they must not depend on."""

import multiprocessing
import warnings

import h5py
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genie.common.errors import UserError
from genie.metrics.fvd import (
    FrechetVideoDistance,
    KernelVideoDistance,
    Statistics,
    frechet_distance,
    kernel_distance,
    real_floor,
)
from genie.metrics.i3d import pretrained_i3d
from genie.metrics.video_features import VideoFeatures, resize_legacy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:FVD of .* videos", "ignore:`torch.jit.* is deprecated"),
]


class Tiny(nn.Module):
    """A detector of six features for tests that are not about I3D."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(48, 6)
        generator = torch.Generator().manual_seed(0)
        nn.init.normal_(self.head.weight, generator=generator)
        nn.init.normal_(self.head.bias, generator=generator)

    def forward(self, videos):
        return self.head(F.adaptive_avg_pool2d(videos.mean(dim=2), 4).flatten(1))


@pytest.fixture(scope="module")
def tiny():
    return VideoFeatures(Tiny(), num_frames=2)


@pytest.fixture
def videos():
    """Real and generated videos [20, 2, 3, 16, 16]."""
    real, generated = torch.rand(2, 20, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return real, generated**1.5


def measure(metric, real, generated, size=20):
    for videos, is_real in ((real, True), (generated, False)):
        for part in videos.split(size):
            metric.update(part, real=is_real)
    return metric.compute().item()


@pytest.mark.parametrize(
    ("frames", "expected", "tolerance"), [(15, 133.908, 5e-3), (16, 152.9018, 0.01), (30, 151.3924, 5e-3)]
)
def test_black_and_white_videos_are_as_far_apart_as_published(pretrained, frames, expected, tolerance):
    """T=30: 151.39244 by the original TensorFlow code. The others: the same weights in float64. No pixel varies, so
    the resize plays no part and the distance is that of two points."""
    pretrained(pretrained_i3d)
    metric = FrechetVideoDistance(num_frames=frames)
    for real in (True, False):
        video = torch.full((1, frames, 3, 64, 64), 255 * (not real), dtype=torch.uint8)
        metric.update(metric.features(video).expand(2, -1), real=real)
    assert metric.compute().item() == pytest.approx(expected, abs=tolerance)


def test_it_rises_with_noise_blur_and_shuffling_of_real_clips(pretrained, pong_root):
    pretrained(pretrained_i3d)
    with h5py.File(pong_root / "test.h5") as file:
        frames = torch.from_numpy(file["frames"][:80:2]).permute(0, 3, 1, 2).float() / 255
    clips = torch.stack([frames[:9], frames[20:29]])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(clips.shape, generator=generator)
    order = torch.randperm(9, generator=generator)
    worse = {
        "clean": clips,
        "noise": (clips + 0.02 * noise).clamp(0, 1),
        "more noise": (clips + 0.2 * noise).clamp(0, 1),
        "blur": F.avg_pool2d(clips.flatten(0, 1), 3, 1, 1).unflatten(0, (2, 9)),
        "shuffled": clips[:, order],
    }
    extract = VideoFeatures(num_frames=9)
    features = {name: extract(changed) for name, changed in worse.items()}
    distances = {name: frechet_distance(features["clean"], changed).item() for name, changed in features.items()}
    assert distances["clean"] == pytest.approx(0, abs=1e-6)
    assert distances["more noise"] > distances["noise"] > 1
    assert distances["blur"] > 1
    assert distances["shuffled"] > 1


def test_the_frechet_distance_is_exact_for_fewer_videos_than_features():
    """With X centred, Σ = XᵀX / (n-1), and tr (Σ₁Σ₂)^½ is the nuclear norm of X₁X₂ᵀ over both roots of n-1."""
    first, second = (torch.randn(n, 40, dtype=torch.float64) * torch.arange(1, 41) for n in (12, 17))
    x, y = first - first.mean(0), second - second.mean(0)
    root = torch.linalg.svdvals(x @ y.T).sum() / (11 * 16) ** 0.5
    spread = x.square().sum() / 11 + y.square().sum() / 16
    expected = (first.mean(0) - second.mean(0)).square().sum() + spread - 2 * root
    assert frechet_distance(first, second).item() == pytest.approx(expected.item(), rel=1e-10)
    assert frechet_distance(first, first).item() == pytest.approx(0, abs=1e-9 * spread.item())


def test_the_kernel_distance_is_its_definition():
    first, second = torch.randn(3, 5), torch.randn(4, 5)

    def mean(a, b, same):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and i == j)]
        return sum(((a[i] @ b[j] / 5 + 1) ** 3).item() for i, j in pairs) / len(pairs)

    expected = mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, False)
    assert kernel_distance(first, second).item() == pytest.approx(expected, rel=1e-5)


def test_the_kernel_distance_is_0_on_average_for_equal_distributions_of_any_size():
    draws = torch.stack([kernel_distance(torch.randn(4, 5), torch.randn(7, 5)) for _ in range(2000)])
    error = draws.std() / len(draws) ** 0.5
    assert draws.mean().abs() < 4 * error
    apart = torch.stack([kernel_distance(torch.randn(4, 5), torch.randn(7, 5) + 1) for _ in range(2000)])
    assert apart.mean() > 10 * error


@pytest.mark.parametrize("kind", [FrechetVideoDistance, KernelVideoDistance])
def test_batches_their_order_and_the_type_of_pixels_do_not_matter(kind, tiny, videos):
    real, generated = ((255 * x).round().to(torch.uint8) for x in videos)
    expected = measure(kind(tiny), real, generated)
    assert expected > 1
    assert measure(kind(tiny), real.flip(0), generated, size=5) == pytest.approx(expected, rel=1e-5)
    assert measure(kind(tiny), real / 255, generated / 255) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [FrechetVideoDistance, KernelVideoDistance])
def test_half_precision_around_it_changes_nothing_and_checkpoints_stay_empty(kind, videos):
    expected = measure(kind(detector=Tiny(), num_frames=2), *videos)
    module = nn.ModuleDict({"metric": kind(detector=Tiny(), num_frames=2)}).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert measure(module["metric"], *videos) == expected
    assert not module.state_dict() and not list(module.parameters())


def test_inside_the_network_tf32_is_off_and_afterwards_as_it_was(tiny, videos):
    seen = []
    handle = tiny.network.network.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    before = torch.backends.cudnn.allow_tf32
    tiny(videos[0])
    handle.remove()
    assert seen and not any(seen) and torch.backends.cudnn.allow_tf32 == before


def test_metrics_share_one_pass_of_the_network(tiny, videos):
    both = [FrechetVideoDistance(tiny), KernelVideoDistance(tiny)]
    for side, real in zip(videos, (True, False), strict=True):
        features = tiny(side)
        for metric in both:
            metric.update(features, real=real)
    for metric in both:
        assert metric.compute().item() == measure(type(metric)(tiny), *videos)


def in_process(rank, folder, real, generated):
    """Half of the videos on each of two processes, and all real ones for the kernel distance on the first."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    part = slice(0, 12) if rank == 0 else slice(12, 20)
    extract = VideoFeatures(Tiny(), num_frames=2)
    frechet, kernel = FrechetVideoDistance(extract), KernelVideoDistance(extract)
    value = measure(frechet, real[part], generated[part])
    if rank == 0:
        kernel.update(real, real=True)
    kernel.update(generated[part], real=False)
    torch.save((value, kernel.compute().item(), frechet.name, kernel.name), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_measure_what_one_does(tiny, videos, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=in_process, args=(rank, tmp_path, *videos)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    expected = [measure(kind(tiny), *videos) for kind in (FrechetVideoDistance, KernelVideoDistance)]
    for rank in range(2):
        *values, frechet_name, kernel_name = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert values == pytest.approx(expected, abs=1e-9)
        assert (frechet_name, kernel_name) == ("fvd/Tiny_2f_20v", "kvd/Tiny_2f_20v")


def test_names_and_protocols_say_what_was_compared(videos):
    metric = FrechetVideoDistance(detector=Tiny(), num_frames=2, resize="legacy")
    with pytest.raises(RuntimeError, match="compute"):
        _ = metric.name
    measure(metric, videos[0], videos[1][:15])
    assert metric.name == "fvd/Tiny_2f_legacy_20r15g"
    assert metric.protocol["videos_generated"] == 15 and len(metric.protocol["weights_sha256"]) == 64


def test_few_videos_are_warned_of_once(tiny, videos):
    metric = FrechetVideoDistance(tiny)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        measure(metric, *videos)
        measure(metric, *videos)
    assert [str(warning.message)[:29] for warning in caught] == ["FVD of 20 real and 20 generat"]


def test_one_video_on_a_side_is_no_distribution(tiny, videos):
    for kind in (FrechetVideoDistance, KernelVideoDistance):
        assert measure(kind(tiny), videos[0][:1], videos[1]) != measure(kind(tiny), videos[0][:2], videos[1])
        metric = kind(tiny)
        metric.update(videos[0][:1], real=True)
        metric.update(videos[1], real=False)
        assert metric.compute().isnan()


def test_statistics_of_real_videos_are_kept(tiny, videos, tmp_path):
    metric = FrechetVideoDistance(tiny)
    expected = measure(metric, *videos)
    metric.statistics(real=True).save(tmp_path / "real.safetensors", tiny.protocol)
    again = FrechetVideoDistance(tiny, reference=tmp_path / "real.safetensors")
    for _ in range(2):
        again.update(videos[1], real=False)
        assert again.compute().item() == expected and again.name == "fvd/Tiny_2f_20v"
        again.reset()
    with pytest.raises(ValueError, match="reference"):
        again.update(videos[0], real=True)
    with pytest.raises(UserError, match="resize=bilinear"):
        FrechetVideoDistance(detector=Tiny(), num_frames=2, resize="legacy", reference=tmp_path / "real.safetensors")
    (tmp_path / "real.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="no file of FVD statistics"):
        Statistics.load(tmp_path / "real.safetensors", tiny.protocol)


def test_a_file_of_torchscript_is_a_detector(tiny, videos, tmp_path):
    torch.jit.script(Tiny()).save(tmp_path / "other.pt")
    metric = FrechetVideoDistance(detector=tmp_path / "other.pt", num_frames=2)
    assert measure(metric, *videos) == pytest.approx(measure(FrechetVideoDistance(tiny), *videos), rel=1e-6)
    assert metric.name == "fvd/other_2f_20v"
    (tmp_path / "other.pt").write_bytes(b"nothing")
    for name in ("other.pt", "missing.pt"):
        with pytest.raises(UserError, match=f"{name}.*TorchScript"):
            VideoFeatures(tmp_path / name)


def test_what_is_no_video_is_refused(tiny, videos):
    for wrong, message in (
        (videos[0][:, :1], "not .B, 2, 3, H, W"),
        (videos[0][:, :, :1], "not .B, 2, 3, H, W"),
        (2 * videos[0] - 1, "in .0, 1."),
        (255 * videos[0], "in .0, 1."),
        (videos[0] / 0, "in .0, 1."),
        (videos[0].long(), "int64"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(wrong)
    with pytest.raises(ValueError, match="width 5"):
        FrechetVideoDistance(tiny).update(torch.zeros(2, 5), real=True)
    with pytest.raises(ValueError, match="num_frames=8: I3D needs at least 9"):
        FrechetVideoDistance(num_frames=8)
    with pytest.raises(ValueError, match="bilinear, legacy"):
        VideoFeatures(resize="bicubic")
    with pytest.raises(ValueError, match="resize cannot be set"):
        KernelVideoDistance(tiny, resize="legacy")


def test_the_legacy_resize_takes_its_pixels_from_i_in_out():
    """Of a picture that is a linear function of its place, within the last pixel, which is repeated."""
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(50.0), indexing="ij")
    resized = resize_legacy((3 * rows + columns)[None, None])[0, 0]
    place = torch.arange(224)
    expected = 3 * (place * 20 / 224).clamp_max(19)[:, None] + (place * 50 / 224).clamp_max(49)
    torch.testing.assert_close(resized, expected, atol=1e-4, rtol=0)


def test_the_floor_is_that_of_two_sets_without_a_common_video():
    features = torch.arange(20.0)[:, None]
    seen = []
    real_floor(features, 10, lambda first, second: seen.append((first, second)))
    ((first, second),) = seen
    assert sorted(torch.cat([first, second]).flatten().tolist()) == list(range(20))
    with pytest.raises(ValueError, match="need 22, there are 20"):
        real_floor(features, 11, frechet_distance)
