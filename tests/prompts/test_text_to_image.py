"""A pipeline of diffusers draws texts; nothing of it is unpickled or run, and what is missing is one line."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.prompts.prompt import Prompter
from genie.prompts.text_to_image import Diffusers, load_text_to_image


def model(folder, **changes):
    settings = {"steps": 2, "guidance": 3.0, "dtype": "float32", "device": torch.device("cpu"), **changes}
    return Diffusers(str(folder), **settings)


@pytest.fixture(scope="module")
def draws(text_model):
    return model(text_model)


@pytest.fixture
def copied(text_model, tmp_path):
    """A copy of the model that a test may spoil."""
    return shutil.copytree(text_model, tmp_path / "model")


def test_text_and_seed_decide_the_picture(draws):
    first = draws("a red platform", (64, 64), 3)
    assert first.shape == (16, 16, 3) and first.dtype == np.uint8 and first.std() > 0
    torch.manual_seed(123)
    assert np.array_equal(draws("a red platform", (64, 64), 3), first)
    assert not np.array_equal(draws("a red platform", (64, 64), 4), first)
    assert not np.array_equal(draws("green water below", (64, 64), 3), first)


def test_the_shape_is_that_of_the_world(draws):
    assert draws("lava", (90, 160), 0).shape == (16, 24, 3)
    assert draws("lava", (128, 32), 0).shape == (32, 8, 3)


def test_the_settings_count(text_model, draws):
    first = draws("lava", (64, 64), 0)
    for changes in ({"steps": 3}, {"guidance": 9.0}):
        assert not np.array_equal(model(text_model, **changes)("lava", (64, 64), 0), first)


def test_the_group_says_which_class_draws(text_model):
    settings = {
        "_target_": "genie.prompts.text_to_image.Diffusers",
        "model": str(text_model),
        "steps": 1,
        "guidance": 1.0,
    }
    drawing = load_text_to_image({**settings, "dtype": "float32"}, torch.device("cpu"))
    assert drawing("lava", (8, 8), 0).shape == (16, 16, 3)
    for changes, message in (
        ({"_target_": "no_such_package.Model"}, "text_to_image cannot be had: .*no_such_package"),
        ({"_target_": "genie.prompts.text_to_image.Diffuser"}, "text_to_image cannot be had: "),
    ):
        with pytest.raises(UserError, match=message) as error:
            load_text_to_image({**settings, **changes}, torch.device("cpu"))
        assert "\n" not in str(error.value)


def test_the_keys_of_the_command_reach_the_model(text_model, draws):
    GlobalHydra.instance().clear()
    keys = ["run=x", "prompt='a red platform'", f"text_model={text_model}", "seed=3", "prompt_fit=squeeze"]
    with initialize_config_module("conf", version_base="1.3"):
        config = resolved("generate", [*keys, "text_to_image.steps=2", "text_to_image.guidance=3"])
    world = SimpleNamespace(image_size=(16, 16), fps=10.0, config={}, device=torch.device("cpu"))
    frames = (Prompter(config, world).given() * 255).round().byte()
    assert np.array_equal(frames[0].permute(1, 2, 0).numpy(), draws("a red platform", (16, 16), 3))


def pickled(folder):
    """The text encoder's weights as a pickle that leaves a mark when it is loaded."""
    (folder / "text_encoder" / "model.safetensors").unlink()

    class Mark:
        def __reduce__(self):
            return (open, (str(folder / "unpickled"), "w"))

    torch.save(Mark(), folder / "text_encoder" / "pytorch_model.bin")


def programmed(folder):
    (folder / "unet" / "my_unet.py").write_text(f"open({str(folder / 'run')!r}, 'w')\n")


def other_parts(folder):
    (folder / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickled, "pytorch_model.bin is pickled; only safetensors are read"),
        (programmed, "brings a program of its own"),
        (other_parts, "cannot be loaded"),
        (lambda folder: (folder / "model_index.json").unlink(), "there is no model_index.json"),
        (lambda folder: shutil.rmtree(folder / "unet"), "cannot be loaded"),
        (
            lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 99),
            "cannot be loaded",
        ),
    ],
)
def test_what_is_no_safe_pipeline_is_one_line(copied, spoil, message):
    spoil(copied)
    with pytest.raises(UserError, match=message) as error:
        model(copied)
    assert "\n" not in str(error.value) and f"text_model={copied}" in str(error.value)
    assert not (copied / "unpickled").exists() and not (copied / "run").exists()


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "./nowhere/model", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_name_is_one_line(name):
    pytest.importorskip("diffusers")
    with pytest.raises(UserError, match=f"text_model={name} is not there") as error:
        model(name)
    assert "\n" not in str(error.value)


def test_without_a_network_a_name_is_one_line(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub", reason="the extra text is not installed").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="text_model=owner/model is no folder, and it cannot be fetched") as error:
        model("owner/model")
    assert "\n" not in str(error.value) and "check the name and the network" in str(error.value)


def test_without_the_extra_the_command_for_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r'pip install "genie-world\[text\]"') as error:
        model("owner/model")
    assert "\n" not in str(error.value)


def test_the_extra_is_not_loaded_before_it_is_needed():
    code = (
        "import sys, genie.prompts.text_to_image, genie.prompts.text_to_image; sys.exit('diffusers' in sys.modules or "
        "'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
