"""The perceptual distance of EfficientNet-Lite0, on a photograph that matplotlib ships."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from genie.metrics.efficientnet_lite import PerceptualDistance, pretrained_efficientnet_lite0


@pytest.fixture
def metric(pretrained):
    pretrained(pretrained_efficientnet_lite0)
    return PerceptualDistance()


@pytest.fixture(scope="module")
def photograph():
    """[1, 3, 224, 224] in [0, 1]: the middle of the portrait of Grace Hopper, its shorter side at 256."""
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as picture:
        picture = picture.convert("RGB").resize((256, 300), Image.Resampling.BICUBIC).crop((16, 38, 240, 262))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def measure(metric, predicted, target):
    metric.reset()
    metric.update(predicted, target)
    return metric.compute().item()


def test_the_network_sees_a_uniform(pretrained, photograph):
    """The shares that the package's own network gives: academic gown, mortarboard, military uniform."""
    network = pretrained(pretrained_efficientnet_lite0).eval()
    with torch.no_grad():
        shares = network.classify(photograph)[0].softmax(0)
    assert shares[[400, 667, 652]].tolist() == pytest.approx([0.244, 0.213, 0.177], abs=0.01)


def test_it_rises_with_noise_and_blur(metric, photograph):
    noise = torch.randn(photograph.shape)
    noisy = [measure(metric, (photograph + level * noise).clamp(0, 1), photograph) for level in (0, 0.02, 0.06, 0.2)]
    blurred = [measure(metric, F.avg_pool2d(photograph, size, 1, size // 2), photograph) for size in (1, 3, 7, 15)]
    for distances in (noisy, blurred):
        assert distances[0] == 0 and distances == sorted(distances) and distances[1] > 0.01


def test_a_shift_of_brightness_looks_less_different_than_a_blur_of_the_same_error(metric, photograph):
    blurred = F.avg_pool2d(photograph, 7, 1, 3)
    error = (blurred - photograph).square().mean().sqrt()
    darker = photograph - error
    assert measure(metric, darker, photograph) < measure(metric, blurred, photograph) / 3


def test_only_the_direction_of_features_counts(metric):
    features = {0.0: (3.0, 4.0), 0.5: (30.0, 40.0), 1.0: (-4.0, 3.0)}  # by the brightness of a picture
    metric.network = lambda pictures: [torch.tensor([features[x.mean().item()] for x in pictures])[..., None, None]]
    black, grey, white = (torch.full((1, 3, 32, 32), value) for value in features)
    assert measure(metric, grey, black) == 0
    assert measure(metric, white, black) == pytest.approx(2)


def test_batches_their_shape_and_the_type_of_pixels_do_not_matter(metric):
    predicted, target = torch.randint(256, (2, 6, 3, 32, 40), dtype=torch.uint8)
    expected = measure(metric, predicted, target)
    assert expected > 0.1
    floats = ((x / 255).unflatten(0, (2, 3)) for x in (predicted, target))
    assert measure(metric, *floats) == pytest.approx(expected, rel=1e-5)
    metric.reset()
    metric.batch_size = 2
    for part in (slice(0, 1), slice(1, 6)):
        metric.update(predicted[part], target[part])
    assert metric.compute().item() == pytest.approx(expected, rel=1e-5)


def test_half_precision_around_it_changes_nothing_and_checkpoints_stay_empty(metric, photograph):
    darker = 0.8 * photograph
    expected = measure(metric, darker, photograph)
    module = nn.ModuleDict({"metric": metric}).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert measure(module["metric"], darker, photograph) == expected
    assert not module.state_dict() and not list(module.parameters())


def test_following_its_gradient_brings_pictures_closer(metric, photograph):
    target = F.avg_pool2d(photograph, 4)
    picture = (target + 0.1 * torch.randn(target.shape)).requires_grad_()
    before = metric.distance(picture, target).sum()
    before.backward()
    after = metric.distance(picture - 0.5 * picture.grad / picture.grad.norm(), target)
    assert after.item() < before.item()


def test_what_is_no_pair_of_pictures_is_refused(metric):
    for first, second in (((1, 3, 32, 32), (1, 3, 32, 33)), ((3, 31, 32),) * 2, ((1, 1, 32, 32),) * 2):
        with pytest.raises(ValueError, match=r"at least 32x32"):
            metric.update(torch.zeros(first), torch.zeros(second))
    assert metric.compute().isnan()
