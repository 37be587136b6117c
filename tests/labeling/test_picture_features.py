"""Features of pictures: pooled over time, from networks that are there or say in one line that they are not."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from genie.common.errors import UserError
from genie.labeling.features import MEAN, PooledFeatures, pooled_features
from genie.metrics.efficientnet_lite import pretrained_efficientnet_lite0


class Colours(nn.Module):
    def forward(self, pictures):
        return pictures.mean(dim=(2, 3))


def settings(**changes):
    return {"features": "lite0", "resnet": "", "num_pictures": 3, "picture_size": 64} | changes


def test_features_are_pooled_over_some_frames():
    frames = np.zeros((9, 8, 8, 3), np.uint8)
    frames[4, ..., 0] = 255
    pooled = PooledFeatures(Colours(), count=3, size=16, device=torch.device("cpu"))  # frames 0, 4, 8
    mean, deviation, change = pooled(frames).reshape(3, 3)
    np.testing.assert_allclose(mean, [1 / 3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(deviation, [2**0.5 / 3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(change, [1, 0, 0], atol=1e-6)
    assert pooled(frames[:1]).tolist() == [0] * 9
    assert pooled(frames[::-1].copy()).tolist() == pooled(frames).tolist()


def test_lite0_sees_what_pictures_show(pretrained):
    pretrained(pretrained_efficientnet_lite0)
    pooled = pooled_features(settings(), "cpu")
    random = np.random.default_rng(0)
    snow = [random.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8) for _ in range(2)]
    bars = np.where(np.arange(64) % 16 < 8, 250, 5).astype(np.uint8)[None, None, :, None].repeat(64, 1).repeat(3, 3)
    one, two, other = (pooled(frames)[:1280] for frames in (*snow, bars.repeat(4, 0)))
    assert np.linalg.norm(one - two) < 0.5 * np.linalg.norm(one - other)


@pytest.fixture
def resnet(tmp_path):
    """A folder with a tiny ResNet whose weights are random."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic")
    transformers.ResNetModel(config).save_pretrained(tmp_path / "resnet")
    return str(tmp_path / "resnet")


def test_a_resnet_gets_pictures_as_it_was_trained_on(resnet):
    pooled = pooled_features(settings(features="resnet18", resnet=resnet), "cpu")
    seen = []
    model = pooled.network.network.network
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    mean = (255 * MEAN.flatten()).round().byte().numpy()
    features = pooled(np.broadcast_to(mean, (4, 32, 32, 3)))
    assert features.shape == (18,) and seen[0].shape == (3, 3, 64, 64)
    assert seen[0].abs().max() < 0.02  # the mean colour of photographs is 0
    assert np.abs(features[:6]).max() > 0 and np.abs(features[6:]).max() < 1e-6


def test_what_cannot_be_had_is_one_line(monkeypatch, resnet, tmp_path):
    def says(match, **changes):
        with pytest.raises(UserError, match=match) as raised:
            pooled_features(settings(**changes), "cpu")
        assert "\n" not in str(raised.value)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    says("resnet=.*nowhere cannot be loaded .*features=lite0", features="resnet18", resnet=str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    says(r"needs the package transformers: pip install 'genie-world\[curation\]'", features="resnet18", resnet=resnet)
    assert pooled_features(settings(features="none"), "cpu") is None
