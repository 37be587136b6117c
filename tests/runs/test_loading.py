import json
import os
import random
import zipfile

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from genie.common.errors import UserError
from genie.runs.checkpoint_store import keep_as_last, step_path
from genie.runs.loading import fingerprint, load_model, read_checkpoint
from genie.stages import Stage

NAMES = ["tokenizer", "lam", "dynamics", "cotrain"]


def contents(stage):
    return {
        "state_dict": stage.state_dict(),
        "hyper_parameters": {"config": stage.config},
        "global_step": 7,
        "fingerprints": {"tokenizer": "abc"},
    }


def outputs(stage, batch):
    """What the model of a stage makes of a batch, without a loss."""
    frames = Stage.frames(batch)
    if stage.options["name"] == "tokenizer":
        return stage.model(frames).logits
    if stage.options["name"] == "lam":
        return stage.model(frames).logits
    tokens = torch.arange(2 * 4 * 16).view(2, 4, 16) % 64
    logits = stage.model.logits(stage.model.hidden(tokens, batch["actions"][:, :-1]))
    return logits if stage.options["name"] == "dynamics" else (logits, stage.lam(frames).logits)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_gives_the_same_output(build, make_clips, tmp_path, name):
    """Trained and saved by Lightning, rebuilt from the file alone."""
    stage, path = build(name), tmp_path / "last.ckpt"
    trainer = L.Trainer(
        accelerator="cpu", max_steps=2, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(stage, DataLoader([make_clips(4, seed=seed) for seed in range(2)], batch_size=None))
    stage.fingerprints = {"tokenizer": "abc"}
    trainer.save_checkpoint(path)
    loaded = load_model(path)
    assert not loaded.training and loaded.trained_steps == 2
    assert loaded.fingerprints == ({} if name == "tokenizer" else {"tokenizer": "abc"})
    assert loaded.config == stage.config
    assert torch.equal(loaded.background, stage.background) and loaded.fps == stage.fps
    batch = make_clips()
    torch.testing.assert_close(outputs(loaded, batch), outputs(stage.eval(), batch), atol=0, rtol=0)
    assert {part for part, _ in loaded.named_children()} == ({"model", "lam"} if name == "cotrain" else {"model"})
    for part, module in loaded.named_children():
        assert fingerprint(module) == fingerprint(getattr(stage, part))


def refused(path, words=""):
    with pytest.raises(UserError, match=words) as error:
        load_model(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message and len(message) < 600
    return message


@pytest.fixture(scope="module")
def good(build, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "good.ckpt"
    torch.save(contents(build("lam")), path)
    return path


def test_damaged_files_are_one_line(good, tmp_path):
    raw, path = good.read_bytes(), tmp_path / "damaged.ckpt"
    for length in (0, 1, 3, 100, len(raw) // 2, len(raw) - 30, len(raw) - 1):
        path.write_bytes(raw[:length])
        refused(path, "damaged")
    # what a pickle says can go wrong in many ways: without the zip around it nothing is caught before it is read
    with zipfile.ZipFile(good) as archive:
        pickled = archive.read("good/data.pkl")
    chance = random.Random(0)
    for _ in range(60):
        broken = bytearray(pickled)
        for _ in range(3):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        with zipfile.ZipFile(good) as archive, zipfile.ZipFile(path, "w") as copy:
            for entry in archive.namelist():
                copy.writestr(entry, bytes(broken) if entry == "good/data.pkl" else archive.read(entry))
        try:
            read_checkpoint(path)  # a flipped bit of a number is nobody's error
        except UserError as error:
            assert "\n" not in str(error)


def test_a_damaged_file_names_the_whole_one_beside_it(good, tmp_path):
    for step in (1, 2):
        step_path(tmp_path, step).write_bytes(good.read_bytes())
    keep_as_last(step_path(tmp_path, 2), keep=2)
    broken = bytearray(good.read_bytes())
    broken[len(broken) // 2] ^= 1  # one bit, of a weight: torch would not notice
    (tmp_path / "last.ckpt").write_bytes(broken)
    refused(tmp_path / "last.ckpt", "damaged .*step-000000001.ckpt is whole")


def test_other_files_are_one_line(tmp_path):
    path = tmp_path / "other.ckpt"
    for raw in (
        b"",
        b"hello",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\x80\x04",
        json.dumps({"a": 1}).encode(),
        os.urandom(99),
    ):
        path.write_bytes(raw)
        refused(path, "damaged")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    refused(path, "damaged")
    refused(tmp_path / "missing.ckpt", "there is no checkpoint")
    refused(tmp_path, "there is no checkpoint")


def test_foreign_checkpoints_are_one_line(good, tmp_path):
    path, config = tmp_path / "foreign.ckpt", torch.load(good, weights_only=True)["hyper_parameters"]["config"]
    weights = {"w": torch.zeros(2)}
    for foreign in [
        weights, [1, 2], 5, torch.zeros(3), {"state_dict": weights}, {"state_dict": weights, "hyper_parameters": [1]},
        {"state_dict": weights, "hyper_parameters": {"config": 3}}, {"hyper_parameters": {"config": config}},
    ]:  # fmt: skip
        torch.save(foreign, path)
        refused(path, "carries no configuration")

    def without(key):
        return {name: value for name, value in config.items() if name != key}

    for odd, words in [
        ({}, "does not fit"),
        (config | {"stage": config["stage"] | {"name": "reward"}}, "does not fit"),
        (config | {"stage": None}, "does not fit"),
        (without("model"), "does not fit"),
        (config | {"model": config["model"] | {"tokenizer": None}}, "does not fit"),
        (config | {"model": config["model"] | {"lam": config["model"]["lam"] | {"width": 30}}}, "model.lam: width=30"),
        (
            config | {"model": config["model"] | {"lam": config["model"]["lam"] | {"width": 64}}},
            "does not fit.*size mismatch",
        ),
    ]:
        torch.save(torch.load(good, weights_only=True) | {"hyper_parameters": {"config": odd}}, path)
        refused(path, words)
    for width in (float("nan"), float("inf"), -8, 0, 2.5, "wide", [8], None, True, 10**9):  # the last one: a terabyte
        sizes = config["model"] | {"lam": config["model"]["lam"] | {"width": width}}
        odd = {"hyper_parameters": {"config": config | {"model": sizes}}}
        torch.save(torch.load(good, weights_only=True) | odd, path)
        refused(path)
    for key in ("stage", "model", "data"):
        odd_groups = (float("nan"), None, [], "text", *([] if key == "data" else [{"x": 1}]))  # of data no model asks
        for odd in odd_groups:
            torch.save(
                torch.load(good, weights_only=True) | {"hyper_parameters": {"config": config | {key: odd}}}, path
            )
            refused(path)
    for key, value in [("state_dict", weights), ("state_dict", 4), ("fingerprints", 4), ("global_step", "x")]:
        torch.save(torch.load(good, weights_only=True) | {key: value}, path)
        refused(path, "does not fit")
    for convert in (
        torch.Tensor.cfloat,
        torch.Tensor.int,
        torch.Tensor.tolist,
    ):  # torch would make real numbers of them
        contents = torch.load(good, weights_only=True)
        weights = contents["state_dict"]
        name = next(name for name, value in weights.items() if value.ndim == 2)
        torch.save(contents | {"state_dict": weights | {name: convert(weights[name])}}, path)
        refused(path, f"does not fit.*{name}")


class Bomb:
    """Whoever unpickles this makes a folder."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_nothing_in_a_file_is_executed(good, tmp_path):
    path, target = tmp_path / "bomb.ckpt", tmp_path / "exploded"
    for place in ("state_dict", "hyper_parameters", "optimizer_states"):
        for modern in (True, False):
            checkpoint = torch.load(good, weights_only=True) | {place: {"bomb": Bomb(target)}}
            torch.save(checkpoint, path, _use_new_zipfile_serialization=modern)
            refused(path, "damaged")
            assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()  # it would have gone off


def test_fingerprints_tell_weights_apart(build):
    model = build("tokenizer").model
    first = fingerprint(model)
    assert first == fingerprint(model) == fingerprint(build("tokenizer").model) and len(first) == 32
    for _, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point():
            with torch.no_grad():
                value.view(-1)[-1] += 1e-3
                assert fingerprint(model) != first
                first = fingerprint(model)
    assert fingerprint(torch.nn.ModuleDict({"a": torch.nn.Identity()})) != first


def test_reading_leaves_the_file_as_it_is(good):
    assert set(read_checkpoint(good)) == {"state_dict", "hyper_parameters", "global_step", "fingerprints"}
