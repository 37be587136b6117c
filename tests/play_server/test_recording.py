"""A session that was saved gives the same frames again, and what is no session is one line."""

import io
import json

import numpy as np
import pytest
from hydra import initialize_config_module
from PIL import Image

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.play_server.generate import generate
from genie.play_server.session import decode_png, picture_prompt, read_session, session_json, session_mp4
from genie.prompts.prompt import read_prompt
from genie.world.sampler import Sampler

MOVES = [0, 1, 2, 2, 1, 0, 1, 2, 0, 2]  # longer than the window


@pytest.fixture
def replay(tmp_path):
    """replay(session file's content): the frames [T, H, W, 3] that genie.generate makes of it."""

    def run(content, *overrides):
        (tmp_path / "session.json").write_text(json.dumps(content))
        with initialize_config_module("conf", version_base="1.3"):
            overrides = [f"output={tmp_path / 'frames'}", "save_frames=true", "scale=1", "device=cpu", *overrides]
            config = resolved("generate", [f"replay={tmp_path / 'session.json'}", *overrides])
        folder = generate(config)
        return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])

    return run


def picture():
    """A photograph, as it were: of another size and shape, and no value of it a multiple of anything."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="jpeg")
    return file.getvalue()


@pytest.mark.parametrize("prompt", ["clip", "picture"])
def test_a_replay_is_what_was_played(game, at_table, replay, prompt):
    """Through another seed than the first, and a sampler that is changed in the middle."""

    async def play(table):
        player = await table.player(clip=1)
        await table.act((player, 2))
        own = read_prompt(picture(), "a picture", (64, 64), 1, 10, "squeeze")
        chosen = table.prompt(6) if prompt == "clip" else picture_prompt(own)
        await table.engine.reset(player, chosen, 5)
        for turn, action in enumerate(MOVES):
            player.sampler = Sampler(3, 3.0) if turn < 4 else Sampler(5, 2.0, entropy_bound=1.0)
            await table.act((player, action))
        return player

    player = at_table(play)
    content = session_json(player, game.run, ["a", "b", "c"], game.threads)
    assert [change["from"] for change in content["samplers"]] == [0, 4] and content["actions"] == MOVES
    played = np.stack([decode_png(png) for png in player.given + player.made])
    assert np.array_equal(replay(content), played)
    others = [{**content, "seed": 6}, {**content, "samplers": content["samplers"][:1]}]
    assert all(not np.array_equal(replay(other), played) for other in others)  # they count


def test_a_replay_makes_the_video_of_the_page(game, at_table, tmp_path, read_video):
    async def play(table):
        player = await table.player(clip=1)
        for action in MOVES:
            await table.act((player, action))
        return player

    player = at_table(play)
    (tmp_path / "played.mp4").write_bytes(session_mp4(player.given + player.made, player.fps))
    (tmp_path / "session.json").write_text(json.dumps(session_json(player, game.run, [], game.threads)))
    with initialize_config_module("conf", version_base="1.3"):
        overrides = [f"replay={tmp_path / 'session.json'}", f"output={tmp_path / 'again.mp4'}", "device=cpu"]
        generate(resolved("generate", overrides))
    (played, rate), (again, other_rate) = read_video(tmp_path / "played.mp4"), read_video(tmp_path / "again.mp4")
    assert rate == other_rate == 50 and np.array_equal(played, again)


GOOD = {
    "format": "genie session", "version": 1, "run": "x", "seed": 0, "fps": 10.0, "threads": 1,
    "prompt": {"clip": 0, "frames": 4}, "samplers": [{"from": 0, "steps": 2, "temperature": 1.0}], "labels": [],
    "actions": [0, 1],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"version": 2}, {"run": 3}, {"seed": -1}, {"seed": "a"}, {"fps": 0}, {"fps": True},
        {"threads": 0}, {"actions": ["up"]}, {"actions": 3}, {"actions": [9]}, {"actions": [-1]}, {"samplers": []},
        {"samplers": [{"from": 1}]}, {"samplers": [{"from": 0, "steps": 0}]}, {"samplers": [{"from": 0, "speed": 1}]},
        {"samplers": [{"from": 0, "steps": "many"}]}, {"prompt": {}}, {"prompt": {"clip": 10**9, "frames": 4}},
        {"prompt": {"images": ["%%%"]}}, {"prompt": {"images": ["aGFsbG8="]}}, {"prompt": {"images": []}},
        {"prompt": {"clip": True, "frames": 4}},
    ],
    ids=str,
)  # fmt: skip
def test_a_file_that_is_no_session_is_one_line(replay, world_run, change):
    with pytest.raises(UserError, match="replay=") as error:
        replay({**GOOD, **change}, f"run={world_run}")
    assert "\n" not in str(error.value)


def test_a_session_without_a_change_is_read(tmp_path):
    (tmp_path / "session.json").write_text(json.dumps(GOOD))
    assert read_session(tmp_path / "session.json").samplers == [Sampler(2, 1.0)] * 2


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "text.json").write_text("hello")
    for name in ("text.json", "nowhere.json", "."):
        with pytest.raises(UserError, match="replay=") as error:
            read_session(tmp_path / name)
        assert "\n" not in str(error.value)
