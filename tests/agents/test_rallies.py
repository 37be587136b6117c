"""Balls that the player of Pong returns, in the real game."""

import copy

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from data_modules.environments import open_environment
from genie.agents.episodes import Rallies, play_episodes, rallies_of
from genie.agents.results import ActingFolder, report_lines, report_table, summarise

DECISIONS = 300


@pytest.fixture(scope="module")
def settings():
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("record", ["data=pong"])
    return OmegaConf.to_container(config["data"]["recorder"], resolve=True)


class Follower:
    """Goes where the ball is, but for some decisions; `share` 0: stays in its place."""

    plan = None

    def __init__(self, environment, share):
        self.environment, self.share = environment, share

    def reset(self, observation, seed):
        self.draws = np.random.default_rng(seed)

    def act(self):
        ball, player = self.environment.boxes()[:2, :2].mean(1)
        if self.draws.random() > self.share or abs(ball - player) < 4:
            return np.array([0])
        return np.array([1 if ball < player else 2])

    def observe(self, action, observation):
        pass


def played(environment, share, seeds):
    return play_episodes([environment], Follower(environment, share), seeds, DECISIONS)


def test_looking_at_every_sixth_frame_misses_no_ball(settings):
    often = copy.deepcopy(settings)
    often["env"]["kwargs"]["frameskip"] = 1
    environment, frame_by_frame = (open_environment(each, (64, 64)) for each in (settings, often))
    follower = Follower(environment, 0.9)
    follower.reset(environment.reset(3), 3)
    frame_by_frame.reset(3)
    seen, all_seen, lost = Rallies(environment), Rallies(frame_by_frame), 0
    for _ in range(DECISIONS):
        action = int(follower.act()[0])
        _, reward, _, _ = environment.step(action)
        seen.step(reward)
        lost += reward < 0
        for _ in range(6):
            before = all_seen.returned
            all_seen.step(frame_by_frame.step(action)[1])
            if all_seen.returned > before:  # nowhere but at the paddle
                ball, player = frame_by_frame.boxes()[:2]
                assert ball[1] > player[0] - 4 and ball[0] < player[1] + 4 and 130 < ball[2] < 144
    assert (seen.balls, seen.returned) == (all_seen.balls, all_seen.returned)
    assert seen.returned >= 5 and lost >= 2 and seen.balls == seen.returned + lost


def test_who_follows_the_ball_returns_more_than_who_does_not(settings, act_config, tmp_path):
    environment = open_environment(settings, (64, 64))
    config = act_config("act.name=follower", "act.episodes=3", "act.thresholds={}")
    folder = ActingFolder(tmp_path, config)
    for name, share in (("follower", 0.9), ("random", 0)):
        for episode in played(environment, share, [1, 2, 3]):
            assert 0 <= episode.returned <= episode.balls and episode.balls - episode.returned == episode.rewards.count(
                -1
            )
            folder.add(name, episode, [])
    summary = summarise(folder, config, environment.id)
    assert summary["balls_returned"]["mean"] > 0.3 + summary["random"]["balls_returned"]["mean"]
    difference = summary["difference_balls_returned"]
    assert difference["standard_errors"] > 2
    assert difference["mean"] == pytest.approx(
        summary["balls_returned"]["mean"] - summary["random"]["balls_returned"]["mean"]
    )
    assert "balls returned more than at random" in "\n".join(report_lines({**summary, "decisions_per_second": 1.0}))
    assert "balls returned" in [str(cell) for cell in report_table(summary).columns[0].cells]
    again = ActingFolder(tmp_path, config.changed(resume=True))
    assert sorted(map(str, again.rows)) == sorted(map(str, folder.rows))


def test_other_games_have_no_rallies():
    settings = {"env": {"id": "Pendulum-v1", "kwargs": {}}, "observe": "states"}
    settings |= dict.fromkeys(("actions", "action_names", "crop", "fps"))
    assert rallies_of(open_environment(settings, None)) is None
