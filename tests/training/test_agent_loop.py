"""The loop: its order, what it skips, what it hands to its commands, how it goes on, what it prints."""

import functools

import h5py
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from data_modules.held_out_clips import load_clips
from genie.agents import setup
from genie.agents.collect import collect, episode_returns, is_collected, recording
from genie.common.cli import resolved, to_plain
from genie.common.errors import UserError
from genie.common.settings.schema import check_settings
from genie.training.agent_loop import Loop
from genie.training.train import train


@functools.cache
def composed(name, overrides):
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose(name, list(overrides))
        check_settings(cfg, name)
        return cfg


@pytest.fixture
def loop(tmp_path, monkeypatch):
    """loop(*overrides): a loop whose commands only write down what they are, in `loop.done`, and end where they are
    told to (`stop_at`). What was trained is complete from then on."""
    monkeypatch.chdir(tmp_path)
    done, trained = [], {}

    def train(step, command):
        if len(done) == loop.stop_at:
            raise SystemExit(137)
        done.append(command)
        trained[step] = int(next(text for text in command if text.startswith("trainer.max_steps=")).split("=")[1])

    def record(data, folder, number, frames, agent):
        if len(done) == loop.stop_at:
            raise SystemExit(137)
        done.append(f"collect {number} {agent}")
        for split in ("train", "val", "test"):
            path = recording(folder, split, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, [[number, number], [number, number + 2]])

    # each configuration is composed once for all tests, and checked in one of them
    monkeypatch.setattr(
        "genie.training.agent_loop.check_step", lambda key, name, overrides: composed(name, tuple(overrides))
    )
    monkeypatch.setattr("genie.training.agent_loop.run_module", train)
    monkeypatch.setattr("genie.training.agent_loop.collect", record)
    monkeypatch.setattr(Loop, "agent", lambda self: f"policy of {trained['policy']}")
    monkeypatch.setattr(
        "genie.runs.folder.RunFolder.is_complete", lambda self: trained.get(self.path.name, 0) >= self.max_steps
    )

    def build(*overrides):
        given = ["stages=[tokenizer,dynamics,policy]", "rounds=2", *overrides]
        made = Loop(to_plain(composed("agent", tuple(given))), given)
        made.run()
        return made

    loop = build
    loop.done, loop.stop_at = done, None
    return loop


def write(path, rewards):
    """An episode file of rewards by episode; only the first one has ended."""
    with h5py.File(path, "w") as file:
        file["rewards"] = np.concatenate([np.array(episode, dtype=np.float32) for episode in rewards])
        file["episode_ends"] = np.cumsum([len(episode) for episode in rewards])
        file["terminals"] = np.arange(len(file["rewards"])) == 0


COMPLETE = [
    "collect 0 None", "tokenizer 4000", "dynamics 10000", "policy 1000",
    "collect 1 policy of 1000", "dynamics 10500", "policy 1500", "collect 2 policy of 1500",
]  # fmt: skip


def named(done):
    """Commands in words: stage and steps."""
    words = []
    for entry in done:
        if not isinstance(entry, str):
            keys = dict(text.split("=", 1) for text in entry[1:])
            entry = f"{keys['stage']} {keys['trainer.max_steps']}"
        words.append(entry)
    return words


def test_the_rounds_in_order(loop):
    loop("experiment=pong", "overrides.policy=['policy.horizon=5']", "name=mine")
    assert named(loop.done) == COMPLETE
    keys = ["genie.train", "schedule=constant", "experiment=pong"]
    mine = ["name=mine", "data.root=outputs/mine/agent/data", "resume=true"]
    for command in (entry for entry in loop.done if not isinstance(entry, str)):
        assert command[:3] == keys and set(mine) <= set(command)
        assert (
            ("policy.horizon=5" in command) == ("stage=policy" in command) == ("++stage.follow_world=true" in command)
        )
        assert ("stage.actions=environment" in command) == ("stage=dynamics" in command)
        assert not any(text.startswith(("rounds", "stages", "overrides")) for text in command)


def test_with_a_latent_action_model_the_actions_are_latent(loop):
    loop("experiment=pong", "stages=[tokenizer,lam,dynamics,policy]", "rounds=1")
    assert not any("stage.actions=environment" in command for command in loop.done)


def test_a_users_choice_of_actions_comes_last(loop):
    loop("experiment=pong", "overrides.dynamics=['stage.actions=latent']", "rounds=1")
    dynamics = next(entry for entry in loop.done if "stage=dynamics" in entry)
    assert dynamics.index("stage.actions=environment") < dynamics.index("stage.actions=latent")


@pytest.mark.parametrize("stop", [0, 3, 4, 6, 7])
def test_a_killed_loop_goes_on_where_it_was(loop, stop):
    loop.stop_at = stop
    with pytest.raises(SystemExit):
        loop("experiment=pong")
    assert len(loop.done) == stop
    loop.stop_at = None
    loop("experiment=pong")
    assert named(loop.done) == COMPLETE
    loop("experiment=pong")
    assert named(loop.done) == COMPLETE
    loop("experiment=pong", "rounds=3")
    assert named(loop.done)[len(COMPLETE) :] == ["dynamics 11000", "policy 2000", "collect 3 policy of 2000"]


def test_the_table_has_the_return_of_each_round_beside_random(loop):
    table = loop("experiment=pong").table()
    columns = [list(column.cells) for column in table.columns]
    assert columns[1] == ["recorder", "policy, 1000 steps", "policy, 1500 steps"]
    assert columns[3] == ["3"] * 3 and columns[4] == ["0.00", "2.00", "4.00"]  # episodes that were cut do not count


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages=[dynamics,polcy]", "each must be one of tokenizer, lam"),
        ("stages=[policy,dynamics]", "the last one has to be policy"),
        ("rounds=0", "rounds=0 must be a whole number"),
        ("collect.explore=2", "explore=2"),
        ("stages=[lam,policy]", r"collect.labels=300: at most half of collect.frames.train=400"),
        ("data=videos", "data=videos cannot be recorded"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(loop, override, said):
    with pytest.raises(UserError, match=said):
        loop(override, "collect.frames.train=400", *(["data.root=x"] if override == "data=videos" else []))
    assert not loop.done


def test_what_a_training_will_not_take_is_said_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["stages=[policy]", "overrides.policy=['policy.horizn=5']"]
    with (
        initialize_config_module("conf", version_base="1.3"),
        pytest.raises(UserError, match=r"overrides\.policy: .*horizn"),
    ):
        Loop(resolved("agent", given), given)


def test_an_episode_that_the_file_cuts_has_no_return(tmp_path):
    write(tmp_path / "a.h5", [[1, 2], [3, 4, 5], [100]])
    assert episode_returns(tmp_path / "a.h5").tolist() == [3, 12]
    assert episode_returns(tmp_path / "a.h5", longest=2).tolist() == [3, 7]
    write(tmp_path / "b.h5", [[1, 2]])
    assert episode_returns(tmp_path / "b.h5").tolist() == [3]


class Brightest:
    """An agent that keeps what it was shown, and goes up where the picture is uneven."""

    def __init__(self):
        self.seen, self.done, self.seeds = [], [], []

    def reset(self, observation, seed):
        self.seen.append(observation)
        self.seeds.append(seed)

    def act(self):
        return 1 + len(self.done) % 2

    def observe(self, action, observation):
        self.done.append(action)
        self.seen.append(observation)


def test_an_agent_plays_the_recording_and_sees_its_frames(tmp_path):
    with initialize_config_module("conf", version_base="1.3"):
        data = resolved("train", ["data=pong", "data.recorder.max_episode_steps=12"])["data"]
    agent, frames = Brightest(), {"train": 30, "val": 5, "test": 5}
    recording(tmp_path, "val", 2).parent.mkdir(parents=True)
    recording(tmp_path, "val", 2).write_bytes(b"mine")  # there already
    collect(data, tmp_path, 2, frames, agent)
    assert is_collected(tmp_path, 2) and not is_collected(tmp_path, 1)
    assert recording(tmp_path, "val", 2).read_bytes() == b"mine"
    with h5py.File(recording(tmp_path, "train", 2)) as file:
        ends = file["episode_ends"][:]
        recorded, done = file["frames"][:], np.delete(file["actions"][:], ends - 1)
    assert np.array_equal(recorded, np.stack(agent.seen)[:30])
    assert done.tolist() == agent.done[: len(done)] and len(set(agent.seeds)) == len(agent.seeds)
    collect(data, tmp_path, 3, frames)
    with h5py.File(recording(tmp_path, "train", 3)) as file:
        assert not np.array_equal(file["frames"][:], recorded)


def test_latent_actions_are_played_by_the_names_that_the_recording_gives_them(
    world_run, pong_root, tmp_path, monkeypatch
):
    """The debug model's world and a clone in it; what round 0 recorded says what its codes are called."""
    overrides = ["debug=fast", f"output_dir={tmp_path}"]
    policy = ["stage=policy", "policy=latent_bc", f"stage.world={world_run}", "trainer.max_steps=4", "name=mine"]
    with initialize_config_module("conf", version_base="1.3"):
        train(resolved("train", [*overrides, *policy, f"data.root={pong_root}"]))
        given = ["stages=[policy]", *overrides, "name=mine", "collect.labels=50",
                 f"overrides.policy=['policy=latent_bc','stage.world={world_run}']"]  # fmt: skip
        loop = Loop(resolved("agent", given), given)
    frames = {"train": 8, "val": 4, "test": 4}
    for split in frames:
        recording(loop.data, split, 0).parent.mkdir(parents=True)
        recording(loop.data, split, 0).symlink_to(pong_root / f"{split}.h5")
    read = []
    monkeypatch.setattr(setup, "load_clips", lambda *given: read.append(given[1:3]) or load_clips(*given))
    agent = loop.agent()
    assert read == [(str(loop.data), "train")]
    assert agent.action_map.counts.sum() == 50 and agent.action_map.counts.shape == (3, 3)
    order = torch.tensor([2, 0, 1])
    agent.action_map.counts.copy_(torch.eye(3, dtype=torch.int64)[order])
    chosen, choose = [], agent.choose
    agent.choose = lambda *given: chosen.append(choose(*given)) or chosen[-1]
    collect(loop.config["data"], loop.data, 1, frames, agent)
    with h5py.File(recording(loop.data, "train", 1)) as file:
        assert file["actions"][:-1].tolist() == order[torch.cat(chosen)[:7]].tolist()
