"""Which kind of prompt a value is, and that each kind reaches the world."""

import numpy as np
import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from PIL import Image, ImageDraw

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.generate import main
from genie.prompts.prompt import Prompter, prompt_kind


@pytest.fixture
def configure():
    """configure(*overrides): the configuration `generate`."""

    def build(*overrides):
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            return resolved("generate", ["run=x", *overrides])

    return build


class World:
    """What a prompter needs to know of a world."""

    def __init__(self, **data):
        self.image_size, self.fps, self.config, self.device = (16, 32), 10.0, {"data": data}, None


class Painter:
    """A `TextToImage`: the red is the seed's, the green the text's length, the blue the left half."""

    def __call__(self, text, size, seed):
        assert size == (16, 32)
        picture = np.zeros((64, 64, 3), dtype=np.uint8)
        picture[..., 0], picture[..., 1], picture[:, :32, 2] = seed, len(text), 255
        return picture


@pytest.fixture
def drawing(tmp_path):
    image = Image.new("RGB", (320, 160), "white")
    ImageDraw.Draw(image).rectangle((80, 40, 159, 79), fill="black")
    image.save(tmp_path / "drawing.png")
    return tmp_path / "drawing.png"


def test_what_a_prompt_is(configure, drawing, tmp_path):
    words, model = "prompt='a red platform over lava'", "text_model=owner/model"
    assert prompt_kind(configure()) is None
    assert prompt_kind(configure(f"prompt={drawing}", model)) == "file"
    assert prompt_kind(configure(f"prompt={drawing}", "prompt_kind=sketch")) == "sketch"
    assert prompt_kind(configure(words, model)) == "text"
    assert prompt_kind(configure("prompt=lava", model, "prompt_kind=text")) == "text"
    (tmp_path / "my own drawing").write_bytes(drawing.read_bytes())
    assert prompt_kind(configure(f"prompt='{tmp_path / 'my own drawing'}'", model)) == "file"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prompt=drawin.png"], "is not there: give a picture or a video, or a text with prompt_kind=text"),
        (["prompt='a red platform over lava'"], "is not there.*prompt_kind=text text_model="),
        # with a model for texts, what looks like the name of a file is still no text
        (["prompt=drawin.png", "text_model=a/b"], "prompt=drawin.png is not there"),
        (["prompt='my drawin.png'", "text_model=a/b"], "is not there"),
        (["prompt='some folder/drawing'", "text_model=a/b"], "is not there"),
        (["prompt=drawing", "text_model=a/b"], "is not there"),
        (["prompt='a red platform'", "prompt_kind=text"], "text_model=<folder or name>"),
        (["prompt='a red platform'", "prompt_kind=sketch", "text_model=a/b"], "is not there"),
        (["prompt=' '", "prompt_kind=text", "text_model=a/b"], "1 to 500 characters, this one 0"),
        ([f"prompt={'x' * 5000}"], "is not there"),
        (["prompt_kind=sketch"], "prompt_kind=sketch needs a prompt"),
        (["prompt_kind=sketsch"], "prompt_kind=sketsch must be one of auto, sketch, text"),
        (["prompt_fit=stretch"], "prompt_fit=stretch must be one of squeeze, pad, pad_edge, crop"),
        (["prompt=/"], "is a folder"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_loaded(configure, overrides, message):
    with pytest.raises(UserError, match=message) as error:
        prompt_kind(configure(*overrides))
    assert "\n" not in str(error.value)


def test_a_sketch(configure, drawing):
    palette = "prompt_palette=['#904811',[92,186,92]]"
    config = configure(f"prompt={drawing}", "prompt_kind=sketch", palette)
    frames = (Prompter(config, World()).given() * 255).round().byte().numpy()
    assert frames.shape == (1, 3, 16, 32)
    ink = np.zeros((16, 32), dtype=bool)
    ink[4:8, 8:16] = True
    assert (frames[0][:, ink].T == (92, 186, 92)).all() and (frames[0][:, ~ink].T == (0x90, 0x48, 0x11)).all()


def test_a_text(configure):
    prompter = Prompter(configure("prompt='a red cat'", "text_model=a/b", "seed=7", "prompt_fit=crop"), World())
    prompter.text_to_image = Painter()
    frames = (prompter.given() * 255).round().byte().numpy()
    assert (frames[0, 0] == 7).all() and (frames[0, 1] == len("a red cat")).all()
    assert (frames[0, 2, :, :16] == 255).all() and (frames[0, 2, :, 16:] == 0).all()


def test_the_fit_is_that_of_the_data_unless_it_is_given(configure, tmp_path):
    Image.new("RGB", (16, 16), "white").save(tmp_path / "a.png")

    def black(data, *overrides):
        frames = Prompter(configure(f"prompt={tmp_path / 'a.png'}", *overrides), World(**data)).given()
        return (frames == 0).all(dim=1).float().mean().item()

    assert black({}) == black({"fit": "crop"}) == 0 and black({"fit": "pad"}) == 0.5
    assert black({"fit": "pad"}, "prompt_fit=squeeze") == 0


def test_the_command_takes_both_spellings(world_run, drawing, tmp_path, run_main):
    arguments = [f"run={world_run}", "num_frames=1", "device=cpu", "save_prompt=true", f"output={tmp_path / 'a.mp4'}"]
    for kind in ("prompt.kind=sketch", "prompt_kind=sketch"):
        code, out, err = run_main(main, *arguments, f"prompt={drawing}", kind)
        assert code == 0, err
        shown = np.asarray(Image.open(tmp_path / "a_prompt.png"))
        assert shown.shape == (256, 256, 3)
        field, ink = shown[200:].reshape(-1, 3), shown[72:120, 72:120].reshape(-1, 3)
        assert len(np.unique(field, axis=0)) == 1 and np.abs(field[0].astype(int) - (144, 72, 17)).max() <= 2  # Pong's
        assert len(np.unique(ink, axis=0)) == 1 and (ink[0] != field[0]).any()
        (tmp_path / "a_prompt.png").unlink()
    code, _, err = run_main(main, *arguments, f"prompt={drawing}", "prompt.knd=sketch")
    assert code == 2 and "prompt_knd" in err and "prompt_kind" in err
    code, _, err = run_main(main, *arguments, f"prompt={drawing}", "prompt.kind=sketch", "prompt.fit=round")
    assert code == 2 and err.strip().count("\n") == 0 and "prompt_fit=round" in err


@pytest.mark.parametrize("text", ["a red, 'old' platform", 'over "lava"!', "a=b (c) {d} [e] #f: é", "plain words"])
def test_a_text_needs_no_second_quotes(text, run_main, monkeypatch):
    seen = []
    monkeypatch.setattr("genie.play_server.generate.generate", lambda config: seen.append(config.prompt))
    code, _, err = run_main(main, f"prompt={text}")
    assert code == 0 and seen == [text], err
