"""What is exported is what was trained, loads wherever a run or a checkpoint does, and is refused when damaged."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file, save_file

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.evaluation.trained_run import TrainedRun
from genie.export import main
from genie.play_server.generate import generate
from genie.publishing.export import export
from genie.runs.loading import fingerprint, load_model, read_checkpoint
from genie.runs.safetensors_file import write_exported
from genie.world.world_model import WorldModel

STAGES = ("tokenizer", "lam", "dynamics")


def composed(command, *overrides):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return resolved(command, list(overrides))


@pytest.fixture(scope="module")
def exported(world_run, tmp_path_factory):
    """exported(*overrides, run=world_run): the folder into which the tiny world, or another run, was exported."""

    def build(*overrides, run=world_run):
        output = tmp_path_factory.mktemp("exported") / "world"
        export(composed("export", f"run={run}", f"output={output}", *overrides))
        return output

    return build


@pytest.fixture(scope="module")
def folder(exported):
    return exported()


def play(world):
    """Frames of a short rollout."""
    height, width = world.image_size
    state = world.reset(torch.linspace(0, 1, 3 * height * width).view(1, 1, 3, height, width), seed=1)
    frames = []
    for action in (0, 2, 1):
        state, step = world.step(state, torch.tensor([action]))
        frames.append(step.observation)
    return torch.cat(frames)


def test_the_round_trip_is_exact(folder, world_run):
    for name in STAGES:
        trained = read_checkpoint(world_run / name / "checkpoints" / "last.ckpt")
        again = read_checkpoint(folder / f"{name}.safetensors")
        assert again["state_dict"].keys() == trained["state_dict"].keys()
        for key, value in trained["state_dict"].items():
            assert again["state_dict"][key].dtype == value.dtype and torch.equal(again["state_dict"][key], value)
        assert again["hyper_parameters"]["config"] == trained["hyper_parameters"]["config"]
        assert again["fingerprints"] == trained.get("fingerprints", {})
        assert load_model(folder / f"{name}.safetensors").trained_steps == 5
        modes = {(folder / file).stat().st_mode for file in (f"{name}.safetensors", "config.json")}
        assert len(modes) == 1  # whoever reads one reads all


def test_a_world_plays_the_same_elsewhere(folder, world_run, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere")
    world = WorldModel.load(tmp_path / "elsewhere")
    assert world.lam is not None and torch.equal(play(world), play(WorldModel.load(world_run)))


def test_commands_take_the_folder_and_training_the_files(folder, tmp_path, pong_root):
    video = generate(composed("generate", f"run={folder}", f"output={tmp_path / 'video.mp4'}", "num_frames=2"))
    assert video.stat().st_size > 0
    subject = TrainedRun(folder, torch.device("cpu"), composed("generate", "run=x"))
    assert list(subject.checkpoints) == list(STAGES) and subject.contents["dynamics"]["steps"] == 5
    given = [f"{part}_ckpt={folder / part}.safetensors" for part in ("tokenizer", "lam")]
    from genie.stages import build_stage

    stage = build_stage(composed("train", "stage=dynamics", "debug=fast", f"data.root={pong_root}", *given))
    stage.load_dependencies()
    assert stage.fingerprints == load_model(folder / "dynamics.safetensors").fingerprints


def test_rounded_weights_still_make_one_world(exported, folder, world_run):
    half = exported("dtype=bf16")
    for name in STAGES:
        trained, rounded = load_file(folder / f"{name}.safetensors"), load_file(half / f"{name}.safetensors")
        parameters = {key for key, _ in load_model(folder / f"{name}.safetensors").named_parameters()}
        for key, value in trained.items():
            expected = value.to(torch.bfloat16) if key in parameters else value
            assert rounded[key].dtype == expected.dtype and torch.equal(rounded[key], expected)
    world = WorldModel.load(half)  # by the fingerprints of the rounded weights
    assert torch.isfinite(play(world)).all()
    assert fingerprint(world.tokenizer) != fingerprint(WorldModel.load(world_run).tokenizer)


def test_one_checkpoint(world_run, tmp_path):
    source = world_run / "lam" / "checkpoints" / "best.ckpt"
    assert export(composed("export", f"checkpoint={source}", f"output={tmp_path}")) == [tmp_path / "lam.safetensors"]
    assert "The latent action model of a [Genie]" in (tmp_path / "README.md").read_text()
    assert fingerprint(load_model(tmp_path / "lam.safetensors")) == fingerprint(load_model(source))


def test_the_averaged_weights_of_a_run_with_ema(build, tmp_path):
    """As Lightning's callback writes them: the average in the place of the weights."""
    stage = build("tokenizer")
    average = {name: value + 1 if value.is_floating_point() else value for name, value in stage.state_dict().items()}
    checkpoint = {"state_dict": average, "current_model_state": stage.state_dict(), "global_step": 3}
    torch.save(checkpoint | {"hyper_parameters": {"config": stage.config}}, tmp_path / "last.ckpt")
    export(composed("export", f"checkpoint={tmp_path / 'last.ckpt'}", f"output={tmp_path / 'out'}"))
    loaded = load_model(tmp_path / "out" / "tokenizer.safetensors").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in average.items())


def test_the_card_and_the_configuration_say_what_is_there(world_run, exported, tmp_path):
    run = shutil.copytree(world_run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))  # others measure it
    folder = exported(run=run)
    about = json.loads((folder / "config.json").read_text())
    assert [about[f"{name}.safetensors"]["stage"] for name in STAGES] == list(STAGES)
    text = (folder / "README.md").read_text()
    assert "A [Genie](https://arxiv.org/abs/2402.15391) world model (preset `debug`) for frames of 64x64" in text
    count = sum(value.numel() for value in load_model(folder / "dynamics.safetensors").parameters())
    assert f"{count / 1000:.3g} k" in text and "## Measured" not in text
    (run / "evaluation").mkdir()
    values = {"tokenizer": {"psnr": 41.25}, "lam": {"confusion": [[1]]}}
    (run / "evaluation" / "evaluation.json").write_text(json.dumps(values))
    measured = exported(run=run)
    assert "| tokenizer.psnr | 41.25 |" in (measured / "README.md").read_text()
    assert json.loads((measured / "evaluation" / "evaluation.json").read_text()) == values


def refused(path):
    with pytest.raises(UserError) as error:
        load_model(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message and len(message) < 400
    return message


def test_damaged_and_foreign_files_are_one_line(folder, tmp_path):
    raw, path = (folder / "tokenizer.safetensors").read_bytes(), tmp_path / "tokenizer.safetensors"
    for length in (0, 7, 8, 100, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:length])
        assert "damaged" in refused(path)
    for place in (len(raw) - 5, len(raw) * 3 // 4):  # numbers
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert "not those that were written" in refused(path)
    path.write_bytes(b"\xff" * 8 + raw[8:])  # a header of 2^64 bytes
    assert "damaged" in refused(path)
    for foreign in (b"hello, this is no model", b"PK\x03\x04" + bytes(200), (folder / "README.md").read_bytes()):
        path.write_bytes(foreign)
        assert "damaged" in refused(path)
    tensors = load_file(folder / "tokenizer.safetensors")
    for metadata, words in [
        (None, "none that this version"),
        ({"format": "pt"}, "none that this version"),
        ({"format": "genie-world 1"}, "header cannot be read"),
        ({"format": "genie-world 1", "config": "[" * 100_000, "fingerprints": "{}"}, "header cannot be read"),
        (
            {"format": "genie-world 1", "config": "{}", "fingerprints": "{}", "global_step": "1", "digest": "0"},
            "not those that were written",
        ),
    ]:
        save_file(tensors, path, metadata)
        assert words in refused(path)


def test_a_model_of_other_sizes_is_one_line(folder, tmp_path):
    checkpoint = read_checkpoint(folder / "tokenizer.safetensors")
    checkpoint["hyper_parameters"]["config"]["model"]["tokenizer"]["width"] = 64
    write_exported(tmp_path / "tokenizer.safetensors", checkpoint)
    assert "does not fit" in refused(tmp_path / "tokenizer.safetensors")


def test_mistakes_are_told_before_anything_is_written(folder, world_run, tmp_path, run_main):
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, words in [
        ([], "give either run="),
        ([f"run={world_run}", f"checkpoint={world_run}"], "give either run="),
        ([f"checkpoint={world_run}/lam/checkpoints/last.ckpt"], "output=exported"),
        ([f"run={world_run}", f"output={tmp_path}/out", "dtype=fp8"], "dtype=fp8"),
        ([f"run={empty}", f"output={tmp_path}/out"], "holds no trained stage"),
        ([f"run={world_run}", f"output={folder}"], "overwrite=true"),
    ]:
        code, out, err = run_main(main, *arguments)
        assert code == 2 and out == "" and words in err and err.count("\n") == 1, err
    assert {path.name for path in tmp_path.iterdir()} == {"empty"}


def test_overwriting_leaves_nothing_of_what_was_there(exported, world_run, tmp_path):
    source = world_run / "lam" / "checkpoints" / "last.ckpt"
    folder = Path(exported())
    (folder / "cotrain.safetensors").write_bytes(b"old")
    export(composed("export", f"checkpoint={source}", f"output={folder}", "overwrite=true"))
    assert {path.name for path in folder.glob("*.safetensors")} == {"lam.safetensors"}
    assert not list(folder.glob(".*"))
