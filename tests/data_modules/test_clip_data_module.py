"""The data module: splits, loaders, and a training that goes on where it was."""

import os
import signal
import subprocess
import sys
from itertools import islice

import h5py
import lightning as L
import numpy as np
import pytest
import torch

from data_modules.clip_data_module import ClipDataModule
from data_modules.seeding import StepBatchSampler
from genie.common.errors import UserError
from genie.common.random import fold_in


def module(root, **changes):
    settings = {"image_size": (8, 8), "num_frames": 4, "batch_size": 3, "fps": 10.0} | changes
    data = ClipDataModule(root=str(root), **settings)
    data.setup()
    return data


def all_rows(dataset):
    return {row for clip in dataset for row in clip["frames"][:, 1, 0, 0].tolist()}


def test_one_file_is_split_by_episode(tmp_path, write_episodes):
    data = module(write_episodes(tmp_path / "all.h5", [8] * 20), val_clips=1000)
    episodes = [{int(clip["frames"][0, 0, 0, 0]) for clip in d} for d in data.datasets.values()]
    assert [len(part) for part in episodes] == [16, 2, 2]
    assert len(set.union(*episodes)) == 20
    again = module(tmp_path / "all.h5", seed=5)  # the split is no matter of the seed: stages share it
    np.testing.assert_array_equal(again.val_dataset.episodes, data.val_dataset.episodes)


@pytest.mark.parametrize("lengths", [[200], [150, 50]])
def test_few_episodes_are_split_by_time_with_a_gap(tmp_path, write_episodes, lengths):
    data = module(write_episodes(tmp_path / "all.h5", lengths, only_frames=len(lengths) == 1), val_clips=1000)
    train, val, test = (all_rows(part) for part in data.datasets.values())
    assert len(train) > 140 and len(val) >= 12 and len(test) >= 12
    assert min(val) - max(train) > 4 and min(test) - max(val) > 4


def test_training_clips_alone_reach_behind_the_end_and_begin_before_it(tmp_path, write_episodes):
    path = write_episodes(tmp_path / "all.h5", [8] * 20)
    inside, beyond = (module(path, past_end=count, val_clips=1000) for count in (0, 50))
    assert len(beyond.train_dataset) == len(inside.train_dataset) + 2 * 16  # of four frames two are of the episode
    assert len(beyond.val_dataset) == len(inside.val_dataset)
    with pytest.raises(UserError, match="data.past_end=2: clips drawn around ends"):
        beyond.draw_rare(0.5)


def test_facts_about_pong(pong_root):
    data = module(pong_root, image_size=(64, 64))
    info = data.info
    assert (info.num_actions, info.action_meanings) == (3, ["noop", "up", "down"])
    assert info.object_names == ["ball", "player", "enemy"] and info.image_size == (64, 64) and info.fps == 10
    assert info.background.shape == (3, 64, 64) and info.background.dtype == np.uint8
    # Nothing but the field: what moves is gone, paddles included where they do not rest.
    assert (info.background[:, :, 10:50] == np.array([144, 72, 17])[:, None, None]).all()
    frames = torch.cat([clip["frames"] for clip in data.val_dataset]).float()
    error = (frames - torch.from_numpy(info.background)).square().mean() / 255**2
    assert -10 * torch.log10(error) > 30  # dB
    assert module(pong_root, image_size=(64, 64), stride=3).info.fps == pytest.approx(10 / 3)


def test_info_without_actions_and_without_names(tmp_path, write_episodes):
    frames = module(write_episodes(tmp_path / "frames.h5", [100], only_frames=True)).info
    assert (frames.num_actions, frames.action_meanings, frames.object_names, frames.fps) == (None, None, [], 10)
    named = module(write_episodes(tmp_path / "all.h5", [20] * 5)).info
    assert (named.num_actions, named.action_meanings, named.object_names) == (
        99,
        None,
        ["thing"],
    )  # the last row decides nothing


def test_batches_do_not_depend_on_the_workers(pong_root):
    def run(num_workers):
        data = module(pong_root, image_size=(64, 64), num_workers=num_workers)
        data.train_dataset[0]  # an open handle in the parent must not matter
        return list(data.train_dataloader()), list(data.val_dataloader())

    for one, two in zip(run(0), run(2), strict=True):
        assert len(one) == len(two) > 5
        for a, b in zip(one, two, strict=True):
            assert a.keys() == b.keys()
            for name in a:
                torch.testing.assert_close(a[name], b[name], rtol=0, atol=0, equal_nan=True)


def test_batch_is_what_the_stages_expect(pong_root):
    batch = next(iter(module(pong_root, image_size=(64, 64)).train_dataloader()))
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items()} == {
        "frames": (torch.uint8, (3, 4, 3, 64, 64)),
        "actions": (torch.int64, (3, 4)),
        "rewards": (torch.float32, (3, 4)),
        "terminals": (torch.bool, (3, 4)),
        "objects": (torch.float32, (3, 4, 3, 2)),
        "index": (torch.int64, (3,)),
        "row": (torch.int64, (3,)),
        "seed": (torch.int64, (3,)),
        "fps": (torch.float32, (3,)),
    }


class Listener(L.LightningModule):
    """Remembers the seeds of the samples of every batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, batch_index):
        self.seen.append(batch["seed"].tolist())
        return self.weight.sum()

    def validation_step(self, batch, batch_index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(root, folder, steps, **kwargs):
    listener = Listener()
    trainer = L.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder, val_check_interval=3,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(listener, ClipDataModule(str(root), (8, 8), num_frames=4, batch_size=4, val_clips=2), **kwargs)
    trainer.save_checkpoint(folder / f"{steps}.ckpt")
    return listener.seen


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_training_sees_the_batches_it_would_have_seen(tmp_path, write_episodes):
    for split in ("train", "val"):
        write_episodes(tmp_path / "data" / f"{split}.h5", [19, 11])  # 24 clips: an epoch is 6 batches
    whole = fit(tmp_path / "data", tmp_path, 20)
    sampler = StepBatchSampler(24, 4, 0, 1, lambda: 0, seed=0)
    assert whole == [[fold_in(0, *key) for key in batch] for batch in islice(sampler, 20)]
    for stop in (4, 6, 14):
        assert fit(tmp_path / "data", tmp_path, stop) == whole[:stop]
        assert fit(tmp_path / "data", tmp_path, 20, ckpt_path=tmp_path / f"{stop}.ckpt") == whole[stop:]


def test_ranks_share_validation(pong_root, monkeypatch):
    data = module(pong_root, image_size=(64, 64), val_clips=7)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(data, "ranks", lambda rank=rank: (rank, 2))
        parts.append({seed for batch in data.val_dataloader() for seed in batch["seed"].tolist()})
    assert [len(part) for part in parts] == [3, 3] and not parts[0] & parts[1]


def test_a_signal_to_the_workers_does_not_stop_the_reading(pong_root):
    loader = module(pong_root, image_size=(64, 64), num_workers=2).train_dataloader()
    iterator = iter(loader)
    next(iterator), next(iterator)  # one batch of each worker: both have started
    command = "import os, signal, sys\n[os.kill(int(p), s) for p in sys.argv[1:] for s in (2, 10, 15)]"
    pids = [str(worker.pid) for worker in iterator._workers]
    subprocess.run([sys.executable, "-c", command, *pids], check=True)  # not from the parent
    assert len(list(iterator)) > 10
    assert all(worker.is_alive() for worker in iterator._workers)
    os.kill(int(pids[0]), 0)
    for pid in pids:
        os.kill(int(pid), signal.SIGTERM)  # the parent itself can end them
    for worker in iterator._workers:
        worker.join(5)
        assert not worker.is_alive()


def test_leaving_with_open_workers_does_not_hang():
    code = (
        "from data_modules.worker_loader import SteadyDataLoader\n"
        "batches = iter(SteadyDataLoader(range(1000), 2, num_workers=2, persistent_workers=True))\n"
        "print(next(batches))"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=200, capture_output=True, text=True)
    assert done.stdout == "tensor([0, 1])\n" and done.returncode == 0


def test_mistakes_are_named_before_any_work(tmp_path, write_episodes):
    def says(match, root, **changes):
        with pytest.raises(UserError, match=match) as raised:
            module(root, **changes)
        assert "\n" not in str(raised.value)

    missing = "no .*train.h5 and no .*val.h5: "
    says(missing + "record with `python -m genie.record data=pong`", tmp_path, name="pong", recorder={})
    says(missing + "give data.root=", tmp_path)
    path = write_episodes(tmp_path / "short.h5", [4] * 10)
    says("no clip for train .*5 frames at stride 1 span 5, and its longest episode has 4", path, num_frames=5)
    says("its longest episode has 4", path, num_frames=2**31)  # lengths that no recording has are not tried
    says("no clip .*span 7", path, stride=2)
    says("8 training clips, fewer than data.batch_size=9: give data.batch_size=8", path, batch_size=9)
    says("data.fps=", write_episodes(tmp_path / "frames.h5", [100], only_frames=True), fps=None)
    for split in ("train", "val"):
        write_episodes(tmp_path / "two" / f"{split}.h5", [40], only_frames=split == "val")
    says(r"train.h5 has columns \['actions'.*val.h5 has \[\]", tmp_path / "two")


def test_the_test_split_may_be_missing(tmp_path, write_episodes):
    for split in ("train", "val"):
        write_episodes(tmp_path / f"{split}.h5", [40])
    data = module(tmp_path)
    with pytest.raises(UserError, match="no .*test.h5"):
        data.test_dataloader()


def test_the_configuration_of_each_data_set_fits(tmp_path, pong_root):
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    for name in ("pong", "pong_notes", "breakout", "episodes"):
        with initialize_config_module("conf", version_base="1.3"):
            cfg = compose(
                "record", [f"data={name}", f"data.root={pong_root}", "data.num_frames=4", "data.batch_size=2"]
            )
        data = ClipDataModule(**OmegaConf.to_container(cfg.data, resolve=True))
        data.setup()
        assert data.train_dataset[0]["frames"].shape == (4, 3, *cfg.data.image_size)
    with h5py.File(pong_root / "train.h5") as file:
        assert file["frames"].shape[0] == 600  # reading changes nothing


def test_an_unknown_key_is_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no key data.nam"):
        ClipDataModule(str(tmp_path), (8, 8), 4, 2, nam=3)
