import pytest
import torch

from genie.models.patches import Patches, PixelHead

SIZES = [((90, 160), 4), ((72, 128), 16), ((72, 128), 8), ((128, 72), 16), ((64, 64), 8), ((5, 7), 3), ((3, 2), 8)]


@pytest.mark.parametrize(("size", "patch"), SIZES)
def test_cut_and_joined_is_the_same(size, patch):
    patches = Patches(size, patch)
    frames = torch.rand(2, 3, 3, *size)
    cut = patches.cut(frames)
    assert cut.shape == (2, 3, -(-size[0] // patch) * -(-size[1] // patch), 3 * patch**2)
    assert torch.equal(patches.join(cut), frames)  # the padding is cropped away


def test_a_patch_is_a_square_of_its_frame():
    frames = torch.rand(1, 2, 3, 6, 9)
    cut = Patches((6, 9), 3).cut(frames)
    square = frames[0, 1, :, 3:6, 6:9]  # second row, third column
    assert torch.equal(cut[0, 1, 1 * 3 + 2].view(3, 3, 3), square.permute(1, 2, 0))


def test_padding_repeats_the_edge():
    frames = torch.rand(1, 1, 1, 3, 4)
    cut = Patches((3, 4), 5, channels=1).cut(frames).view(5, 5)
    assert torch.equal(cut[:3, :4], frames[0, 0, 0])
    assert torch.equal(cut[:3, 4], frames[0, 0, 0, :, 3])
    assert torch.equal(cut[4, :4], frames[0, 0, 0, 2])
    assert torch.equal(Patches((3, 4), 5, 1).cut(torch.ones(1, 1, 1, 3, 4)), torch.ones(1, 1, 1, 25))


def test_frames_of_another_size_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"\(3, 8, 6\).*\(3, 6, 8\)") as error:
        Patches((6, 8), 2).cut(torch.zeros(1, 1, 3, 8, 6))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="patch_size=0"):
        Patches((6, 8), 0)


def test_pixels_start_from_a_frame():
    patches = Patches((5, 7), 3)
    head = PixelHead(8, patches)
    frame = torch.rand(3, 5, 7)
    frame[0, 0, 0], frame[0, 0, 1] = 0.0, 1.0
    head.start_from(frame)
    start = head(torch.zeros(2, 4, patches.num_patches, 8)) - head.projection.bias.view(3, 3, 3).mean() * 0
    torch.nn.init.zeros_(head.projection.bias)
    start = head(torch.zeros(2, 4, patches.num_patches, 8)).sigmoid()
    assert (start - frame).abs().max() <= 1 / 255 + 1e-6
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(torch.zeros(2, 4, patches.num_patches, 8))
    assert logits.dtype == torch.float32
    assert (logits.sigmoid() - frame).abs().max() <= 1 / 255 + 1e-6  # bf16 has no such bias
