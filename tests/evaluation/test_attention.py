"""Which token an attention map is of, and that the maps of a trained world are those of the models at work."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from callbacks import rollouts
from callbacks.rollouts import StageEvaluation
from data_modules.data_info import DataInfo
from data_modules.held_out_clips import Clips
from genie.common.errors import UserError
from genie.common.settings.training import Attention
from genie.evaluation.attention import choose_token, draw_attention, dynamics_rows, tokenizer_rows
from genie.evaluation.trained_run import LeftOut, Trained
from genie.models.patches import Patches

PATCHES = Patches((16, 24), 4)  # a grid of 4 rows and 6 columns
AUTO = Attention(token="auto", heads="mean")


def clips(objects=None, names=(), count=3):
    info = DataInfo(3, None, list(names), 10.0, (16, 24), torch.zeros(3, 16, 24, dtype=torch.uint8).numpy())
    return Clips(torch.zeros(count, 5, 3, 16, 24, dtype=torch.uint8), None, objects, info, batch_size=2)


def test_where_most_moves():
    still = clips()
    still.frames[1, 3:, :, 9, 14] = 90  # appears at frame 3, in clip 1
    still.frames[2, 3:, :, 9, 14] = 40
    assert choose_token(still, 3, PATCHES, "moving") == choose_token(still, 3, PATCHES, "auto") == (1, 2 * 6 + 3)
    still.frames[0, 4:, :, 0, 23] = 10  # what moved before does not count
    assert choose_token(still, 4, PATCHES, "moving") == (0, 5)


def test_where_an_object_is():
    places = torch.full((3, 5, 2, 2), float("nan"))
    places[0, 3, 0] = torch.tensor([1.0, 1.0])  # the ball: for a moment, …
    places[2, 1:4, 0] = torch.tensor([21.0, 6.0])  # … for three frames, …
    places[1, :3, 0] = torch.tensor([5.0, 5.0])  # … and not at the frame that is asked for
    places[1, 3, 1] = torch.tensor([23.9, 15.9])  # beyond the last pixel's centre
    recorded = clips(places, ["ball", "player"])
    assert choose_token(recorded, 3, PATCHES, "auto") == choose_token(recorded, 3, PATCHES, "ball") == (2, 1 * 6 + 5)
    assert choose_token(recorded, 3, PATCHES, "player") == (1, 3 * 6 + 5)
    recorded.frames[1, 4:, :, 0, 8] = 90
    assert choose_token(recorded, 4, PATCHES, "auto") == (1, 2)  # no object there: where most moves
    with pytest.raises(UserError, match="token=player: no clip shows it in frame 5"):
        choose_token(recorded, 4, PATCHES, "player")


def test_a_place_of_the_grid():
    assert choose_token(clips(), 3, PATCHES, [3, 5]) == (0, 23)
    for choice, words in (
        ([4, 0], "row below 4"),
        ([1], "column below 6"),
        ("bat", "auto, moving, .row, column., ball"),
    ):
        with pytest.raises(UserError, match=words):
            choose_token(clips(torch.zeros(3, 5, 1, 2), ["ball"]), 3, PATCHES, choice)


def test_the_dynamics_is_asked_as_in_the_first_pass_of_generation(build, make_clips):
    """What the last frame really was must not show in what is looked at, what came before it must."""
    stage = build("dynamics", "stage.actions=environment")
    batch = make_clips(2, 4)
    info = DataInfo(3, None, [], 10.0, (16, 16), batch["frames"][0, 0].numpy())
    world = SimpleNamespace(tokenizer=stage.frozen["tokenizer"], dynamics=stage.model.eval(), window=4,
                            device=torch.device("cpu"), takes_environment_actions=True)  # fmt: skip
    subject = SimpleNamespace(world=world)
    with torch.no_grad():
        stage.model.token_embedding.weight *= 30  # untrained models look everywhere alike
        for block in stage.model.transformer.blocks:
            block.temporal.qkv.weight *= 10

    def maps(frames):
        clips = Clips(frames, batch["actions"], None, info, batch_size=2)
        seen, square, rows = dynamics_rows(subject, clips, Attention(token=[1, 2], heads="mean"))
        assert square == [8, 4, 4] and torch.equal(seen, frames[0].float() / 255)
        return torch.cat([part.flatten() for row in rows for part in (row.space, row.time)])

    shown = maps(batch["frames"])
    last, earlier = batch["frames"].clone(), batch["frames"].clone()
    last[0, -1], earlier[0, 1] = 255 - last[0, -1], 255 - earlier[0, 1]
    torch.testing.assert_close(maps(last), shown)
    assert (maps(earlier) - shown).abs().max() > 1e-4


def test_models_that_are_not_trained_yet_are_not_in_the_picture(tmp_path):
    class Subject:
        @property
        def tokenizer(self):
            raise LeftOut("holds no trained tokenizer")

    with pytest.raises(LeftOut, match="no trained tokenizer"):
        draw_attention(Subject(), ("tokenizer",), clips(), AUTO, tmp_path / "attention.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("encoder", "decoder", "shown"),
    [("st_vivit", "conv", "encoder"), ("patch_mlp", "vit", "decoder"), ("vit", "vit", "encoder"),
     ("patch_mlp", "conv", None)],
)  # fmt: skip
def test_a_tokenizer_shows_the_part_that_has_attention(build, make_clips, tmp_path, encoder, decoder, shown):
    stage = build("tokenizer", f"+model.tokenizer.encoder={encoder}", f"+model.tokenizer.decoder={decoder}").eval()
    frames = make_clips(1, 4)["frames"]
    info = DataInfo(3, None, [], 10.0, (16, 16), frames[0, 0].numpy())
    subject, path = SimpleNamespace(tokenizer=Trained(stage.model, 4)), tmp_path / "attention.png"
    asked = subject, Clips(frames, None, None, info, 1), AUTO
    if shown is None:
        with pytest.raises(LeftOut, match="neither encoder nor decoder"):
            tokenizer_rows(*asked)
        look = StageEvaluation(
            subject, asked[1], {"attention": {"token": "auto", "heads": "mean"}, "fps": 5}, 0, tmp_path
        )
        rollouts.tokenizer(look)  # while it trains, the rest is drawn
        assert (tmp_path / "codebook.png").exists() and not path.exists()
        return
    _, _, rows = tokenizer_rows(*asked)
    assert [row.label for row in rows] == [f"{shown}, block 1 of 1"]
    draw_attention(subject, ("tokenizer",), asked[1], AUTO, path)
    assert path.exists()


@pytest.mark.parametrize("heads", ["mean", "separate"])
def test_the_picture_has_a_place_for_every_head(world_run, tmp_path, heads):
    from genie.runs.loading import load_model

    model = load_model(world_run / "tokenizer" / "checkpoints" / "last.ckpt").model
    info = DataInfo(3, None, [], 10.0, (64, 64), torch.zeros(3, 64, 64, dtype=torch.uint8).numpy())
    frames = torch.randint(256, (1, 6, 3, 64, 64), dtype=torch.uint8)
    subject = SimpleNamespace(tokenizer=Trained(model, 4))
    path = tmp_path / "attention.png"
    settings = Attention(token="auto", heads=heads)
    draw_attention(subject, ("tokenizer",), Clips(frames, None, None, info, 1), settings, path)
    assert Image.open(path).size[0] == round(110 * (5 + 2.2 * (1 if heads == "mean" else 2)))
