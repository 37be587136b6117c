"""Augmented clips: what belongs to a picture stays on it, a clip changes as a whole, the seed alone decides."""

import lightning as L
import pytest
import torch

from data_modules.augmentation import STRENGTHS, Augmentation, recolour
from data_modules.clip_data_module import ClipDataModule
from data_modules.data_info import DataInfo
from genie.common.errors import UserError

EVERYTHING = dict.fromkeys(STRENGTHS, 0.3) | {"flip": "horizontal", "flip_actions": {}}


def info(num_actions=3, names=("noop", "up", "down")):
    return DataInfo(num_actions, list(names) if names else None, [], 10.0, (24, 32), None)


def build(names=("noop", "up", "down"), **settings):
    augmentation = Augmentation(settings)
    augmentation.know(info(names=names))
    return augmentation


def spot(seed, x=11, y=7):
    """A clip at rest, dark but for a bright square of 5x5 pixels about (x, y), its object; the actions are 0, 1, 2."""
    frames = torch.full((3, 3, 24, 32), 20, dtype=torch.uint8)
    frames[..., y - 2 : y + 3, x - 2 : x + 3] = 220
    objects = torch.tensor([[[x, y], [float("nan"), float("nan")]]], dtype=torch.float32).repeat(3, 1, 1)
    return {"frames": frames, "objects": objects, "actions": torch.arange(3), "seed": torch.tensor(seed)}


def centre(frames):
    """(x, y) of what is bright in a frame [C, H, W]."""
    light = (frames[0].double() - 20).clamp_min(0)
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    return torch.stack([(light * x).sum(), (light * y).sum()]) / light.sum()


@pytest.mark.parametrize(
    ("settings", "margin", "places"),
    [
        ({"crop": 0.4}, 4, 20),
        ({"shift": 0.2}, 4, 20),
        ({"flip": "horizontal"}, 4, 2),
        ({"flip": "vertical"}, 4, 2),
        ({"crop": 0.4, "shift": 0.2, "flip": "vertical"}, 9, 10),  # what a crop cuts off may be moved inside
    ],
)
def test_objects_stay_on_their_pixels(settings, margin, places):
    augmentation, found = build(**settings, flip_actions={}), set()
    for seed in range(100):
        clip = augmentation(spot(seed))
        place = clip["objects"][0, 0]
        assert torch.isnan(clip["objects"][:, 1]).all()
        if not (margin <= place[0] < 32 - margin and margin <= place[1] < 24 - margin):
            continue  # at an edge, of which a part is cut off or repeated
        torch.testing.assert_close(centre(clip["frames"][0]).float(), place, atol=0.15, rtol=0)
        found.add(tuple(place.tolist()))
    assert len(found) >= places


def test_an_object_that_leaves_the_picture_is_absent():
    gone = 0
    for seed in range(40):
        clip = build(shift=0.5)(spot(seed, x=29))
        place = clip["objects"][0, 0]
        if torch.isnan(place).any():
            assert torch.isnan(place).all()
            gone += 1
        else:
            x, y = place.int().tolist()
            assert clip["frames"][0, 0, y, x] == 220  # an index beyond the edge would raise
    assert 10 < gone < 30


def test_a_clip_at_rest_stays_at_rest_and_the_seed_alone_decides():
    augmentation = build(**EVERYTHING)
    seen = set()
    for seed in range(20):
        given = spot(seed)
        clip = augmentation(given)
        assert (clip["frames"] == clip["frames"][:1]).all() and clip["frames"].dtype == torch.uint8
        assert torch.equal(clip["frames"], augmentation(spot(seed))["frames"])
        assert torch.equal(given["frames"], spot(seed)["frames"])  # what was given is not written to
        seen.add(clip["frames"].numpy().tobytes())
    assert len(seen) == 20


def test_each_change_has_a_draw_of_its_own():
    """Switching another one on leaves the first as it was."""
    for seed in range(20):
        shifted = build(shift=0.3)(spot(seed))["objects"]
        both = build(shift=0.3, hue=0.2, contrast=0.5)(spot(seed))["objects"]
        torch.testing.assert_close(shifted, both, equal_nan=True)


def test_a_mirror_swaps_actions_with_the_picture_and_only_then():
    augmentation = build(flip="vertical", flip_actions={"up": "down"})
    flipped = 0
    for seed in range(100):
        clip = augmentation(spot(seed))
        turned = clip["objects"][0, 0, 1] == 23 - 7
        assert clip["actions"].tolist() == ([0, 2, 1] if turned else [0, 1, 2])
        flipped += int(turned)
    assert 30 < flipped < 70


@pytest.mark.parametrize(
    "given", [{1: 2}, {2: 1}, {"up": 2}, {"up": "down", "down": "up"}, {"up": "down", "noop": "noop"}]
)
def test_swapped_actions_may_be_told_in_several_ways(given):
    assert build(flip="vertical", flip_actions=given).swaps == [(1, 2)]


def test_colours():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(60, 180, (4, 3, 8, 8), dtype=torch.uint8, generator=generator)
    grey = frames[:, :1].expand(-1, 3, -1, -1)
    nothing = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}

    def changed(picture, **values):
        return recolour(picture, **nothing | values).int()

    assert torch.equal(changed(frames), frames.int())
    assert (changed(frames, brightness=0.25) - frames * 1.25).abs().max() <= 1
    assert (changed(frames, brightness=1.0).max(), changed(frames, brightness=-1.0).max()) == (255, 0)
    for name in ("saturation", "hue"):
        assert (changed(grey, **{name: 0.3}) - grey.int()).abs().max() <= 1
    flat = changed(frames, contrast=-1.0)
    assert flat.unique().numel() == 1 and abs(flat.float().mean() - frames.float().mean()) < 5
    faded = changed(frames, saturation=-1.0)
    assert (faded == faded[:, :1]).all()
    turned = changed(frames, hue=1 / 3)  # a third of a turn: red becomes green
    assert (turned - frames[:, [2, 0, 1]].int()).abs().max() <= 1
    opposite = changed(frames, hue=0.5)
    assert (opposite.sum(1) - frames.sum(1, dtype=torch.int32)).abs().max() <= 3


def module(root, **changes):
    settings = {"image_size": (64, 64), "num_frames": 4, "batch_size": 4, "val_clips": 4} | changes
    data = ClipDataModule(root=str(root), **settings)
    data.setup()
    return data


def test_only_training_clips_change_and_off_is_as_before(pong_root):
    plain, off, on = (module(pong_root, augmentation=one) for one in (None, dict.fromkeys(STRENGTHS, 0), EVERYTHING))
    for split in ("train", "val", "test"):
        for index in range(4):
            frames = [data.datasets[split][7, index]["frames"] for data in (plain, off, on)]
            assert torch.equal(frames[0], frames[1])
            assert torch.equal(frames[0], frames[2]) == (split != "train")
    assert (plain.info.background == on.info.background).all()
    # of another epoch: another one
    assert not torch.equal(on.train_dataset[7, 0]["frames"], on.train_dataset[8, 0]["frames"])


class Listener(L.LightningModule):
    """Remembers the batches."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

    def training_step(self, batch, batch_index):
        self.seen.append(batch["frames"])
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore")
def test_workers_and_a_resume_change_nothing(pong_root, tmp_path):
    def fit(steps, num_workers=0, **kwargs):
        listener = Listener()
        trainer = L.Trainer(
            max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
            check_val_every_n_epoch=None, limit_val_batches=0, use_distributed_sampler=False,
        )  # fmt: skip
        data = module(pong_root, augmentation=EVERYTHING, num_workers=num_workers)
        trainer.fit(listener, data, **kwargs)
        trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return torch.stack(listener.seen)

    whole = fit(6)
    assert torch.equal(fit(4, num_workers=2), whole[:4])
    assert torch.equal(fit(6, ckpt_path=tmp_path / "4.ckpt"), whole[4:])


def test_mistakes_are_one_line(pong_root):
    def says(match, **settings):
        with pytest.raises(UserError, match=match) as raised:
            module(pong_root, augmentation=settings)
        assert "\n" not in str(raised.value)

    says(r"flip=vertical mirrors recorded actions too \(noop up down\).*flip_actions", flip="vertical")
    says(r"there is no action 'left', only noop, up, down", flip="vertical", flip_actions={"left": "up"})
    says(r"there is no action 3", flip="vertical", flip_actions={3: 0})
    says(r"a mirror swaps two actions", flip="vertical", flip_actions={"up": "down", "down": "noop"})


def test_a_mirror_needs_no_mapping_without_actions(tmp_path, write_episodes):
    path = write_episodes(tmp_path / "frames.h5", [100], only_frames=True)
    assert module(path, image_size=(8, 8), fps=10.0, augmentation={"flip": "horizontal"}).train_dataset.augmentation
