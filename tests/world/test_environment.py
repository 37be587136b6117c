"""A world as a Gymnasium environment: what it must be for any agent that knows Gymnasium."""

import gc
import sys
import warnings
import weakref
from types import MethodType

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils import seeding
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from PIL import Image

from genie.common.errors import UserError
from genie.common.media import to_bytes, write_mp4
from genie.prompts.data_clips import PromptClips
from genie.world.environment import GenieEnv
from genie.world.sampler import Sampler
from genie.world.vector_environment import GenieVectorEnv
from genie.world.world_model import WorldModel

pytestmark = pytest.mark.slow

ID = "genie.world.environment:genie/World-v0"
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def pictures(*shape, seed=0, size=(8, 12)):
    """Random uint8 [*shape, H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, *size, 3), dtype=np.uint8)


def make(world, /, **settings):
    return GenieEnv(**{"world": world, "prompt": pictures(2), **settings})


def make_many(world, num_envs=3, /, **settings):
    return GenieVectorEnv(num_envs, **{"world": world, "prompt": pictures(2), **settings})


def played(env, actions, **reset):
    """Observations of an episode, the first one included."""
    return np.stack([env.reset(**reset)[0], *(env.step(action)[0] for action in actions)])


def both(world, **settings):
    """A single and a batched environment, each with an action."""
    return [(make(world, **settings), 0), (make_many(world, **settings), [0] * 3)]


@pytest.fixture
def ending(world):
    """The world with rewards and ends: functions of the frame, as if a reward model gave them."""

    def step(self, state, actions):
        state, step = WorldModel.step(self, state, actions)
        frame = to_bytes(step.observation).astype(np.float64).mean((1, 2, 3))
        object.__setattr__(step, "reward", torch.from_numpy(frame).float())
        object.__setattr__(step, "continues", (step.tokens.sum(1) % 12 != 0).float())
        return state, step

    world.step = MethodType(step, world)
    return world


# -- one environment ------------------------------------------------------------------------------------------------


def test_gymnasiums_checker_has_no_complaint(world_run, monkeypatch):
    """Made from the id alone, as somebody does who has imported Gymnasium only."""
    monkeypatch.delitem(gymnasium.registry, "genie/World-v0")
    monkeypatch.delitem(sys.modules, "genie.world.environment")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(ID, run=world_run, render_mode="rgb_array")
        check_env(env.unwrapped)
        envs = gymnasium.make_vec(ID, num_envs=2, run=world_run)
    assert type(env.unwrapped).__name__ == "GenieEnv" and env.spec.id == "genie/World-v0"
    assert type(envs).__name__ == "GenieVectorEnv" and envs.num_envs == 2
    assert env.metadata["render_fps"] == 10


def test_spaces_and_what_is_said(world):
    env = make(world)
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8)
    assert env.action_space == gymnasium.spaces.Discrete(3)
    frame, info = env.reset(seed=0)
    assert frame in env.observation_space and info == {"has_reward_model": False, "passes": 0}
    frame, reward, terminated, truncated, info = env.step(1)
    assert frame in env.observation_space and info == {"has_reward_model": False, "passes": 3}
    assert (reward, terminated, truncated) == (0.0, False, False)


def test_frames_are_those_of_the_world(world, monkeypatch):
    monkeypatch.setattr("genie.common.device.best_precision", lambda accelerator: "32-true")
    actions = [0, 1, 2, 2, 1, 0, 0]
    frames = played(make(world), actions, seed=5)
    prompt = torch.from_numpy(pictures(2)).permute(0, 3, 1, 2).float()[None] / 255
    seed = torch.tensor([int(seeding.np_random(5)[0].integers(2**63 - 1))])
    expected = torch.cat([step.observation for step in world.steps(prompt, torch.tensor([actions]), seed)])
    assert np.array_equal(frames[0], pictures(2)[-1])
    assert np.abs(frames[1:].astype(int) - to_bytes(expected)).max() <= 1  # of a step and of a rollout
    assert not np.array_equal(played(make(world), [0, 1, 2, 0], seed=5)[4], frames[4])


def test_the_same_seed_and_actions_are_the_same_episodes(world):
    env, actions = make(world), [1, 0, 2, 2, 1]
    first, second = played(env, actions, seed=3), played(env, actions)
    assert np.array_equal(played(env, actions, seed=3), first) and np.array_equal(played(env, actions), second)
    other = make(world)
    assert np.array_equal(played(other, actions, seed=3), first) and np.array_equal(played(other, actions), second)
    different = [first, second, played(env, actions, seed=4)]
    assert len({frames[1:].tobytes() for frames in different}) == 3
    assert np.array_equal(first[0], second[0])  # one prompt


def test_observations_are_the_callers(world):
    env = make(world, render_mode="rgb_array")
    frame, _ = env.reset(seed=0)
    frame[:] = 0
    env.render()[:] = 0
    assert np.array_equal(env.render(), pictures(2)[-1])
    assert np.array_equal(env.reset()[0], pictures(2)[-1])


def test_truncated_at_the_horizon_and_over(world):
    env = make(world, horizon=4)
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(0)[2:4] for _ in range(4)] == [(False, False)] * 3 + [(False, True)]
        with pytest.raises(ResetNeeded, match="over: call reset"):
            env.step(0)
    env = make(world, horizon=None)
    env.reset()
    assert not any(env.step(0)[3] for _ in range(30))


def test_rewards_and_ends_are_the_worlds(ending):
    env = make(ending, horizon=50)
    env.reset(seed=0)
    for steps in range(1, 51):
        frame, reward, terminated, truncated, _ = env.step(steps % 3)
        assert reward == pytest.approx(frame.mean(), rel=1e-5)
        if terminated:
            break
    assert terminated and not truncated and 1 < steps < 50
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_a_sampler_is_the_environments_own(world):
    env, plain = make(world, sampler=Sampler(steps=6, entropy_bound=10.0)), make(world)  # all tokens at once
    env.reset(seed=0), plain.reset(seed=0)
    assert env.step(0)[4]["passes"] == 1 and plain.step(0)[4]["passes"] == 3 and world.sampler.steps == 3


def test_closed_means_let_go(world):
    for env, action in [
        (make(world, render_mode="rgb_array"), 0),
        (make_many(world, render_mode="rgb_array"), [0] * 3),
    ]:
        env.reset()
        env.step(action)
        held = weakref.ref(env.episodes.world)
        env.close()
        env.close()
        gc.collect()
        assert held() is None
        for call in (env.reset, env.render, lambda env=env, action=action: env.step(action)):
            with pytest.raises(ClosedEnvironmentError, match="closed"):
                call()


# -- prompts --------------------------------------------------------------------------------------------------------


def test_every_kind_of_prompt(world, tmp_path):
    clip = pictures(5, seed=3)
    large = clip.repeat(3, axis=1).repeat(2, axis=2)
    Image.fromarray(large[0]).save(tmp_path / "a.png")
    levels = (np.arange(9) * 25).astype(np.uint8)
    write_mp4(tmp_path / "a.mp4", np.broadcast_to(levels[:, None, None, None], (9, 16, 24, 3)), fps=10)
    kinds = [(clip, clip[4]), (clip[2], clip[2]), (large, clip[4]), (tmp_path / "a.png", clip[0])]
    for prompt, first in [*kinds, (str(tmp_path / "a.png"), clip[0])]:
        assert np.array_equal(make(world, prompt=prompt).reset()[0], first)
        env = make(world)
        assert np.array_equal(env.reset(options={"prompt": prompt})[0], first)
        assert env.observation_space.contains(env.step(0)[0])
        assert np.array_equal(env.reset()[0], pictures(2)[-1])  # for that episode only
    for count in (2, 4):
        first = make(world, prompt=tmp_path / "a.mp4", prompt_frames=count).reset()[0]
        assert np.abs(first.astype(int) - levels[count - 1]).max() < 6


def test_all_frames_of_a_prompt_are_seen(world):
    clip = pictures(4, seed=3)
    other = clip.copy()
    other[0] = 255 - other[0]
    frames = [played(make(world, prompt=prompt), [1, 1, 1], seed=0) for prompt in (clip, other)]
    assert np.array_equal(frames[0][0], frames[1][0]) and not np.array_equal(frames[0], frames[1])


def test_without_a_prompt_seeds_draw_clips_of_the_validation_data(world_run, load, pong_root):
    env = GenieEnv(run=str(world_run), prompt_frames=3)
    recorded = {frame.tobytes() for frame in load(pong_root / "val.h5")["frames"]}
    starts = [env.reset(seed=seed)[0].tobytes() for seed in range(5)] + [env.reset()[0].tobytes() for _ in range(5)]
    assert set(starts) <= recorded and len(set(starts)) > 7
    assert env.reset(seed=2)[0].tobytes() == starts[2]
    given = pictures(size=(64, 64))
    assert np.array_equal(env.reset(options={"prompt": given})[0], given)


def test_recorded_actions_go_with_their_frames(world_run):
    """Where the dynamics takes the environment's actions; where it takes latent ones they are inferred."""
    loaded, given = WorldModel.load(world_run), []
    loaded.reset = lambda *inputs: given.append(inputs[1]) or WorldModel.reset(loaded, *inputs)
    env = GenieEnv(world=loaded, prompt_frames=4)
    env.reset(seed=1)
    loaded.config["stage"]["actions"] = "environment"
    env.reset(seed=1)
    clips = PromptClips(loaded.config["data"], loaded.image_size, 4)
    generator = seeding.np_random(1)[0]
    generator.integers(2**63 - 1)
    _, recorded = clips[int(generator.integers(len(clips)))]
    assert given[0] is None and given[1].tolist() == [recorded[:3].tolist()]
    env.reset(options={"prompt": pictures(2, size=(64, 64))})
    assert given[2] is None


# -- many environments ----------------------------------------------------------------------------------------------


def equal(one, two):
    """Exactly: observations, rewards, ends and infos."""
    return all(data_equivalence(a, b, exact=True) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_is_its_single_environments(ending, mode):
    """Through many episodes, whose lengths differ, and many beginnings of the window."""
    sync = SyncVectorEnv([lambda: make(ending, horizon=9)] * 4, autoreset_mode=mode)
    envs = make_many(ending, 4, horizon=9, autoreset_mode=mode)
    assert envs.metadata["autoreset_mode"] == mode
    for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(envs, space) == getattr(sync, space)
    for seed in (11, [3, 1, 4, 1]):
        first = envs.reset(seed=seed)
        assert equal(first, sync.reset(seed=seed)) and first[0] in envs.observation_space
        envs.action_space.seed(0)
        ended, truncated, alone = 0, 0, 0
        for _ in range(25):
            actions = envs.action_space.sample()
            result, expected = envs.step(actions), sync.step(actions)
            assert equal(result, expected) and result[0] in envs.observation_space
            over = result[2] | result[3]
            ended, truncated, alone = ended + over.sum(), truncated + result[3].sum(), alone + (0 < over.sum() < 4)
        assert ended > 8 and truncated > 0 and alone > 5
    assert equal([result[0][1]], [result[0][3]]) is False and envs.np_random_seed == sync.np_random_seed == (3, 1, 4, 1)


def test_a_vector_over_a_run(world_run):
    envs = GenieVectorEnv(3, run=world_run, horizon=2)
    one = GenieEnv(world=envs.episodes.world, horizon=2)
    frames, _ = envs.reset(seed=6)
    assert len({frame.tobytes() for frame in frames}) == 3
    many = [frames, *(envs.step(np.array([0, 1, 2]))[0] for _ in range(3))]  # the last one is of the next episode
    for row in range(3):
        alone = [*played(one, [row, row], seed=6 + row), one.reset()[0]]
        assert all(np.array_equal(a, b[row]) for a, b in zip(alone, many, strict=True))


def test_a_vector_step_is_one_step_of_the_world(ending):
    batches, real = [], ending.step
    ending.step = lambda state, actions: batches.append(len(state)) or real(state, actions)
    for mode in MODES:
        envs = make_many(ending, 4, autoreset_mode=mode)
        envs.reset(seed=1)
        before = np.zeros(4, bool)
        for step in range(1, 25):
            batches.clear()
            over = np.logical_or(*envs.step(np.full(4, step % 3))[2:4])
            going = 4 if mode == AutoresetMode.SAME_STEP else 4 - before.sum()
            assert batches == ([going] if going else [])
            before = over


def test_only_the_masked_ones_are_reset(world):
    envs, others = make_many(world, horizon=3, autoreset_mode="Disabled"), make_many(world, horizon=None)
    envs.reset(seed=0), others.reset(seed=0)
    for _ in range(2):
        envs.step([0, 1, 2]), others.step([0, 1, 2])
    mask = np.array([False, True, False])
    frames, info = envs.reset(options={"reset_mask": mask})
    assert np.array_equal(frames[1], pictures(2)[-1]) and info["_passes"].tolist() == mask.tolist()
    result, going = envs.step([0, 1, 2]), others.step([0, 1, 2])
    assert np.array_equal(result[0][[0, 2]], going[0][[0, 2]]) and not np.array_equal(result[0][1], going[0][1])
    assert result[3].tolist() == [True, False, True]
    with pytest.raises(ResetNeeded, match=r"\[0, 2\] are over"):
        envs.step([0, 1, 2])
    envs.reset(options={"reset_mask": ~mask})
    assert envs.step([0, 1, 2])[3].tolist() == [False, False, False]


def test_a_prompt_for_each(world):
    prompts = [pictures(3, seed=1), pictures(seed=2), pictures(3, seed=3)]  # of different lengths
    envs, env = make_many(world), make(world)
    many = [envs.reset(seed=4, options={"prompt": prompts})[0], *(envs.step([1, 2, 0])[0] for _ in range(6))]
    for row, action in enumerate([1, 2, 0]):
        alone = played(env, [action] * 6, seed=4 + row, options={"prompt": prompts[row]})
        assert np.array_equal(alone, [frames[row] for frames in many])
    stacked = pictures(3, 2, seed=5)
    assert np.array_equal(envs.reset(options={"prompt": stacked})[0], stacked[:, -1])
    assert np.array_equal(envs.reset(options={"prompt": stacked[1]})[0], stacked[[1, 1, 1], -1])


def test_a_vector_renders_what_it_sees(world):
    envs = make_many(world, render_mode="rgb_array")
    envs.reset(seed=0)
    frames = envs.step([0, 1, 2])[0]
    shown = envs.render()
    assert isinstance(shown, tuple) and np.array_equal(shown, frames)
    expected = frames.copy()
    for mine in (frames, *shown):
        mine[:] = 0
    assert np.array_equal(envs.render(), expected) and expected.any()


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"world": None}, "either run=.* or world="),
        ({"run": "outputs/pong"}, "either run=.* or world="),
        ({"world": None, "run": "nowhere"}, "nowhere holds no trained world"),
        ({"prompt": "nowhere.png"}, "nowhere.png is not there"),
        ({"prompt": pictures(2).astype(np.float32)}, r"float32 \[2, 8, 12, 3\]: give uint8"),
        ({"prompt": pictures()[..., 0]}, r"uint8 \[8, 12\]: give"),
        ({"prompt": pictures(0)}, r"\[0, 8, 12, 3\]: give"),
        ({"prompt_frames": 0}, "prompt_frames=0"),
        ({"horizon": 0}, "horizon=0"),
        ({"horizon": 2.5}, "horizon=2.5"),
        ({"device": "gpu"}, "device=gpu"),
        ({"render_mode": "human"}, "render_mode='human'.*rgb_array"),
    ],
)
def test_settings_that_cannot_be(world, settings, words):
    for maker in (make, make_many):
        with pytest.raises(UserError, match=words) as error:
            maker(world, **settings)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"promt": 1}, "'promt'.* is unknown: there is prompt"),
        ({"prompt": "nowhere.png"}, "not there"),
        ({"prompt": 7}, "give uint8"),
    ],
)
def test_options_that_cannot_be(world, options, words):
    for maker in (make, make_many):
        with pytest.raises(UserError, match=words):
            maker(world).reset(options=options)


def test_options_that_a_vector_cannot_have(world):
    envs = make_many(world)
    with pytest.raises(ResetNeeded, match="without reset_mask"):
        envs.reset(options={"reset_mask": np.ones(3, bool)})
    envs.reset()
    for mask in (np.zeros(3, bool), np.ones(2, bool), np.ones(3)):
        with pytest.raises(UserError, match=r"reset_mask is .*give bool \[3\]"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(UserError, match="2 prompts: give one, or one for each of the 3"):
        envs.reset(options={"prompt": [pictures()] * 2})
    with pytest.raises(UserError, match="seed has 2 numbers"):
        envs.reset(seed=[1, 2])


def test_a_world_without_data_needs_a_prompt(world):
    for maker in (make, make_many):
        with pytest.raises(UserError, match="give prompt="):
            maker(world, prompt=None).reset()


def test_actions_that_cannot_be(world):
    env, envs = make(world), make_many(world)
    env.reset(), envs.reset()
    for wrong in (3, -1, 1.0, None, [1]):
        with pytest.raises(UserError, match=r"action=.* whole number in 0 … 2"):
            env.step(wrong)
    for wrong in (1, [0, 1], [0, 1, 3], [0, -1, 0], [0.0, 1.0, 2.0]):
        with pytest.raises(UserError, match=r"actions=.* 0 … 2 for each of the 3"):
            envs.step(wrong)


def test_nothing_before_reset(world):
    for env, action in [
        (make(world, render_mode="rgb_array"), 0),
        (make_many(world, render_mode="rgb_array"), [0] * 3),
    ]:
        with pytest.raises(ResetNeeded, match=r"reset\(\)"):
            env.step(action)
        with pytest.raises(ResetNeeded, match=r"reset\(\)"):
            env.render()


# -- with the tools that people use ---------------------------------------------------------------------------------


def test_a_random_agent_is_recorded(world_run, tmp_path, read_video):
    pytest.importorskip("moviepy", reason="RecordVideo writes its files with moviepy")
    env = gymnasium.make(ID, run=world_run, horizon=6, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # moviepy's own
        env = gymnasium.wrappers.RecordVideo(env, tmp_path / "videos", episode_trigger=lambda episode: True)
        frames = [played(env, [env.action_space.sample() for _ in range(6)], seed=episode) for episode in range(2)]
        env.close()
    for episode, seen in enumerate(frames):
        video, fps = read_video(tmp_path / "videos" / f"rl-video-episode-{episode}.mp4")
        assert video.shape == (7, 64, 64, 3) and fps == 10
        assert np.abs(video.astype(int) - seen).mean() < 8


def test_stable_baselines_trains_on_it(world):
    sb3 = pytest.importorskip("stable_baselines3", reason="pip install stable-baselines3")
    threads = torch.get_num_threads()
    env = gymnasium.make(ID, world=world, prompt=pictures(2), horizon=20)
    agent = sb3.PPO("MlpPolicy", env, n_steps=64, batch_size=32, n_epochs=2, seed=0, device="cpu")
    before = [weight.detach().clone() for weight in agent.policy.parameters()]
    agent.learn(256)
    assert agent.num_timesteps == 256
    assert [episode["l"] for episode in agent.ep_info_buffer] == [20] * 12
    assert any(not torch.equal(old, new) for old, new in zip(before, agent.policy.parameters(), strict=True))
    torch.set_num_threads(threads)
