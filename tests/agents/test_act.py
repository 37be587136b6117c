"""`python -m genie.act` from a configuration to its folder, in an environment that is what its world imagines."""

import csv
import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from hydra import initialize_config_module

from data_modules.formats.episodes import EpisodeWriter
from genie.act import main
from genie.agents import Episode, RandomAgent, WorldAgent, play_episodes
from genie.agents.act import act, act_for_budgets
from genie.agents.play_progress import PlayProgress
from genie.agents.statistics import optimism_of, pairs_of
from genie.common.cli import resolved
from genie.common.errors import RunError, UserError
from genie.common.settings.world import ReplannedSearch
from genie.evaluation.planning import check_planning, evaluate_planning
from genie.evaluation.table import report_table
from genie.evaluation.trained_run import LeftOut


def rows_of(folder):
    """The rows of episodes.csv without the seconds, which are never the same."""
    with open(folder / "episodes.csv") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["agent"], int(row["episode"])))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def test_planning_beats_random_play_by_far(stage, act_config, tmp_path, capsys):
    mean = act(act_config("act.episodes=6"))
    folder = tmp_path / "line" / "acting" / "cem"
    summary, printed = summary_of(folder), capsys.readouterr().out
    assert mean > -4 and summary["return"]["mean"] == pytest.approx(mean, abs=1e-4)
    difference = summary["difference"]
    assert difference["standard_errors"] > 2.5 and difference["low"] > 0
    assert difference["mean"] == pytest.approx(mean - summary["random"]["return"]["mean"], abs=1e-3)
    assert summary["success_above"] == -3.0  # of the registry
    assert summary["success"]["mean"] > summary["random"]["success"]["mean"]
    assert summary["imagined"]["correlation"] > 0.9 and abs(summary["imagined"]["gap"]["mean"]) < 0.2
    for words in ("better than random by", "decisions a second", "success: above -3", "correlation"):
        assert words in printed
    rows = rows_of(folder)
    assert [row["agent"] for row in rows] == ["cem"] * 6 + ["random"] * 6
    assert [row["seed"] for row in rows[:6]] == [row["seed"] for row in rows[6:]]
    assert all(environment.closed for environment in stage.opened)


def test_the_number_of_episodes_at_once_changes_nothing(stage, act_config, tmp_path):
    for parallel in (1, 3, 8):
        act(act_config(f"act.parallel={parallel}").changed(output=str(tmp_path / str(parallel))))
    first, *others = (rows_of(tmp_path / str(parallel)) for parallel in (1, 3, 8))
    assert all(other == first for other in others)
    plans = [sorted((tmp_path / str(parallel) / "plans.csv").read_text().split()) for parallel in (1, 8)]
    assert plans[0] == plans[1]


def test_episodes_that_are_over_are_kept_and_not_played_again(stage, act_config, tmp_path):
    folder, whole = tmp_path / "line" / "acting" / "cem", tmp_path / "whole"
    act(act_config().changed(output=str(whole)))
    original, stage.world.steps = stage.world.step, 0
    calls = []

    def interrupted(state, actions, decode=True):
        calls.append(1)
        if len(calls) > 250:  # in the second round of episodes: a decision takes 18
            raise KeyboardInterrupt
        return original(state, actions, decode)

    stage.world.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        act(act_config())
    kept = rows_of(folder)
    assert 4 < len(kept) < 8 and summary_of(folder)["episodes"] == len(kept) - 4
    stage.world.step = original
    with pytest.raises(UserError, match="holds episodes already"):
        act(act_config())
    starts = sum(environment.starts for environment in stage.opened)
    act(act_config("resume=true"))
    assert sum(environment.starts for environment in stage.opened) - starts == 8 - len(kept)
    assert rows_of(folder) == rows_of(whole)
    assert sorted((folder / "plans.csv").read_text().split()) == sorted((whole / "plans.csv").read_text().split())
    with pytest.raises(UserError, match="other settings.*planner"):
        act(act_config("resume=true", "planner.horizon=7"))
    act(act_config("resume=true", "act.episodes=5"))
    assert len(rows_of(folder)) == 10
    act(act_config("overwrite=true"))
    assert rows_of(folder) == rows_of(whole)


def test_one_episode_has_no_interval_and_says_so(stage, act_config, tmp_path, capsys):
    act_for_budgets(act_config("act.episodes=1", "act.budget.candidates=[8,24]", "act.budget.horizon=[6]"))
    printed = capsys.readouterr().out
    assert "nan" not in printed.lower() and "no interval: one episode" in printed
    assert "no standard error: one episode" in printed and "8 candidates" in printed
    row = json.loads((tmp_path / "line" / "acting" / "budget" / "budget.json").read_text())[0]
    table = report_table({"run": "x", "clips": 1, "split": "test", "planning": {"return_random": None, "c8_h6": {
        "return": row["return"], "decisions_per_second": 1.0}}})  # fmt: skip
    assert "no interval" in str(list(table.columns[-1].cells))


def test_cut_episodes_of_the_random_policy_alone_are_counted_once(stage, act_config, tmp_path):
    act(act_config("act.max_steps=3", "agent=random"))
    assert "4 of 4 episodes were cut" in summary_of(tmp_path / "line" / "acting" / "random")["success_not_measured"]


def test_success_of_whole_episodes_is_not_measured_on_cut_ones(stage, act_config, tmp_path, capsys):
    act(act_config("act.max_steps=3"))
    folder = tmp_path / "line" / "acting" / "cem"
    summary, printed = summary_of(folder), capsys.readouterr().out
    assert summary["success"] is None and summary["random"]["success"] is None
    assert "8 of 8 episodes were cut by act.max_steps=3" in summary["success_not_measured"]
    assert "success is not measured: 8 of 8" in printed and "0%" not in printed
    act(act_config("act.max_steps=3", "act.success=-2", "act.name=mine"))  # the user's own, of such episodes
    assert summary_of(tmp_path / "line" / "acting" / "mine")["success"] is not None
    act(act_config("act.max_steps=12", "act.name=whole"))  # the environment's own limit cuts nothing
    assert summary_of(tmp_path / "line" / "acting" / "whole")["success_not_measured"] is None


def edited(folder, change):
    with open(folder / "episodes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with open(folder / "episodes.csv", "w", newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_folder_of_an_earlier_version_is_gone_on_with(stage, act_config, tmp_path):
    folder = tmp_path / "line" / "acting" / "cem"
    act(act_config("act.max_steps=3"))
    whole = rows_of(folder)

    def older(rows):
        del rows[2:]
        for row in rows:
            for name in ("balls", "returned", "cut"):
                del row[name]

    edited(folder, older)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    del settings["act"]["labels"], settings["data_root"]
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    act(act_config("act.max_steps=3", "resume=true"))
    assert rows_of(folder) == whole
    assert "8 of 8 episodes were cut" in summary_of(folder)["success_not_measured"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: edited(folder, lambda rows: rows[1].update(length="many")), "row 2.*many"),
        (lambda folder: edited(folder, lambda rows: rows[1].update(terminal="perhaps")), "row 2.*perhaps"),
        (lambda folder: edited(folder, lambda rows: rows.append(rows[0])), "episode 0 of random twice"),
        (lambda folder: edited(folder, lambda rows: [row.pop("return") for row in rows]), "no column return"),
        (lambda folder: cut_in_half(folder / "episodes.csv"), "episodes.csv, row"),
        (lambda folder: (folder / "episodes.csv").write_bytes(b"\xff\xfe\x00"), "episodes.csv"),
        (lambda folder: (folder / "episodes.csv").write_bytes(b""), "no column agent"),
        (lambda folder: cut_in_half(folder / "plans.csv"), "plans.csv, row"),
        (lambda folder: (folder / "config.yaml").unlink(), "config.yaml cannot be read"),
        (lambda folder: (folder / "config.yaml").write_text("a: [1"), "config.yaml cannot be read"),
        (lambda folder: (folder / "config.yaml").write_text(""), "config.yaml holds no settings"),
    ],
)
def test_a_damaged_folder_is_one_line(stage, act_config, tmp_path, damage, words):
    folder = tmp_path / "line" / "acting" / "cem"
    act(act_config())
    damage(folder)
    with pytest.raises(UserError, match=f"{words}.*overwrite=true") as error:
        act(act_config("resume=true"))
    assert "\n" not in str(error.value)


def cut_in_half(path):
    """In the middle of a row, after a comma."""
    text = path.read_bytes()
    path.write_bytes(text[: text.index(b",", len(text) // 2) + 1])


@pytest.mark.parametrize("candidates", ["[0]", "[many]", "[8.5]", "8"])
def test_a_budget_that_cannot_be_is_one_line(act_config, candidates):
    with pytest.raises(UserError, match="act.budget.candidates=.* must be a"):
        act_config(f"act.budget.candidates={candidates}")


def test_a_budget_that_fails_is_said_and_the_others_are_played(stage, act_config, tmp_path, monkeypatch, capsys):
    def failing(config):
        if config.planner.candidates == 8:
            raise RuntimeError("no more\nmemory")
        return act(config)

    monkeypatch.setattr("genie.agents.act.act", failing)
    with pytest.raises(RunError, match="8 candidates, horizon 6 .RuntimeError: no more memory"):
        act_for_budgets(act_config("act.budget.candidates=[8,24]", "act.budget.horizon=[6]"))
    rows = json.loads((tmp_path / "line" / "acting" / "budget" / "budget.json").read_text())
    assert [row["candidates"] for row in rows] == [24]
    assert "not measured: RuntimeError: no more memory" in capsys.readouterr().out


def test_an_error_loses_no_episode(stage, act_config, tmp_path):
    original, calls = stage.world.step, []

    def failing(state, actions, decode=True):
        calls.append(1)
        if len(calls) > 250:
            raise RuntimeError("no more memory")
        return original(state, actions, decode)

    stage.world.step = failing
    with pytest.raises(RuntimeError):
        act(act_config())
    folder = tmp_path / "line" / "acting" / "cem"
    assert summary_of(folder)["episodes"] == len(rows_of(folder)) - 4 > 0


def test_a_world_whose_rewards_lie_is_found_out(stage, act_config, line_world, tmp_path):
    """It imagines that the left end is where rewards are."""

    class Liar(line_world):
        def step(self, state, actions, decode=True):
            state, step = super().step(state, actions, decode)
            return state, replace(step, reward=-(state.places[:, 0] + 0.9).abs() + 1)

    liar = Liar()
    liar.config = stage.world.config
    stage.world = liar
    act(act_config("planner.horizon=4"))
    imagined = summary_of(tmp_path / "line" / "acting" / "cem")["imagined"]
    assert imagined["gap"]["low"] > 1 and imagined["imagined"] > imagined["true"] + 1
    assert imagined["correlation"] < 0.5


def test_continuous_actions_are_played_too(stage, act_config, line_world, tmp_path):
    stage.world = line_world(continuous=True)
    stage.world.config = {"name": "line", "data": {"name": "line", "recorder": {"env": {"id": "LineOfForces-v0"}}}}
    config = act_config("act.success=-2", "act.episodes=10")
    act(config.changed(planner=ReplannedSearch(name="mpc", execute=2, optimizer=config.planner)))
    summary = summary_of(tmp_path / "line" / "acting" / "mpc")
    assert summary["difference"]["standard_errors"] > 3 and summary["success_above"] == -2


def test_an_environment_of_other_actions_is_refused(stage, act_config):
    with pytest.raises(UserError, match="the world takes 3 actions and the environment 1 numbers"):
        act(act_config("env.id=LineOfForces-v0"))


def test_videos_and_plots_are_drawn(stage, act_config, tmp_path, read_video):
    act(act_config("act.videos=1", "act.horizon=3"))
    folder = tmp_path / "line" / "acting" / "cem"
    names = {path.name for path in (folder / "videos").iterdir()}
    assert names == {"cem_000.mp4", "random_000.mp4", "plan.png", "imagined_against_real.png"}
    frames, fps = read_video(folder / "videos" / "cem_000.mp4")
    length = next(int(row["length"]) for row in rows_of(folder) if row["agent"] == "cem")
    assert fps == 10 and len(frames) == length + 1 and frames.std() > 0
    assert (folder / "imagined_against_true.png").stat().st_size > 1000


def test_the_random_policy_alone(stage, act_config, tmp_path):
    act(act_config("agent=random"))
    folder = tmp_path / "line" / "acting" / "random"
    assert {row["agent"] for row in rows_of(folder)} == {"random"}
    assert summary_of(folder)["difference"] is None and stage.world.steps == 0


def test_a_policy_plays_and_its_critic_helps_a_planner(stage, act_config, tmp_path, monkeypatch):
    """The policy goes right, and its critic pays for being at the left."""

    class Policy:
        gives_environment_actions = True

        def choose(self, state, seed):
            return torch.full((len(state),), 2)

        def value(self, state):
            return -100 * state.places[:, 0]

    monkeypatch.setattr("genie.agents.setup.load_policy", lambda path, world: Policy())
    act(act_config("act.policy=somewhere"))
    rows = [row for row in rows_of(tmp_path / "line" / "acting" / "policy") if row["agent"] == "policy"]
    assert all(row["terminal"] == "True" and int(row["length"]) <= 8 for row in rows)
    planned = act_config()
    act(planned.changed(act=planned.act.changed(policy="somewhere")))
    totals = [float(row["return"]) for row in rows_of(tmp_path / "line" / "acting" / "cem") if row["agent"] == "cem"]
    assert np.mean(totals) < -6  # it sits at the left end


def test_latent_actions_are_played_through_a_map(stage, act_config, line_world, tmp_path, monkeypatch):
    """The world's actions are those of the environment in another order."""
    order = torch.tensor([2, 0, 1])  # latent → true

    class Latent(line_world):
        takes_environment_actions = False

        def moves(self, actions):
            return super().moves(order[actions])

    class Map:
        def to_true(self, latent):
            return order[latent]

        def to_latent(self, true):
            return order.argsort()[true]

    asked = []
    maps = types.ModuleType("genie.world.action_map")
    maps.fit_action_map = lambda world, clips, count, seed, key: asked.append((clips, count, key)) or Map()
    monkeypatch.setitem(sys.modules, "genie.world.action_map", maps)
    read = []
    monkeypatch.setattr(
        "genie.agents.setup.load_clips", lambda *given: read.append(given) or types.SimpleNamespace(source="clips")
    )
    stage.world, config = Latent(), stage.world.config
    stage.world.config = config
    config["data"]["num_frames"] = 11
    act(act_config("act.labels=77"))
    assert asked == [("clips", 77, "act.labels")] and read[0][3:] == (8, 11, 1)
    assert summary_of(tmp_path / "line" / "acting" / "cem")["return"]["mean"] > -4


def test_budgets_are_compared(stage, act_config, tmp_path, capsys):
    best = act_for_budgets(act_config("act.budget.candidates=[4,32]", "act.budget.horizon=[1,6]", "act.episodes=3"))
    folder = tmp_path / "line" / "acting" / "budget"
    with open(folder / "budget.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["candidates"], row["horizon"]) for row in rows] == [("4", "1"), ("4", "6"), ("32", "1"), ("32", "6")]
    assert best == max(float(row["return"]) for row in rows)
    assert summary_of(folder / "c32_h6")["return"]["mean"] == float(rows[3]["return"])
    assert (folder / "budget.png").exists() and "candidates" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["act.policy=x", "agent=random"], "who plays?"),
        (["agent=human"], "agent=human"),
        (["act.episodes=0"], "act.episodes=0"),
        (["act.name=random"], "act.name=random"),
        (["planner.horizon=0"], "planner.horizon=0"),
        (["act.budget.candidates=[2]"], "planner.candidates=2"),
    ],
)
def test_a_wrong_value_is_one_line_before_any_work(stage, act_config, overrides, words):
    with pytest.raises(UserError) as error:
        (act_for_budgets if "budget" in overrides[0] else act)(act_config(*overrides))
    assert words in str(error.value) and "\n" not in str(error.value)
    assert stage.opened == []


def test_a_policy_is_given_by_its_path_although_training_has_a_group_of_that_name(run_main):
    code, _, err = run_main(main, "run=x", "policy=outputs/x", "agent=random")
    assert code == 2 and "who plays?" in err and err.count("\n") == 1


def test_an_environment_is_given_by_its_id(stage, run_main, tmp_path, monkeypatch):
    short, whole = (f"env{key}=LineOfForces-v0" for key in ("", ".id"))
    for given in (short, whole):
        code, _, err = run_main(main, f"run={tmp_path}", "agent=random", given, "device=cpu")
        assert code == 2 and "the world takes 3 actions and the environment 1 numbers" in err


def test_nobody_plays_without_a_choice(stage, act_config):
    with pytest.raises(UserError, match="who plays"):
        act(act_config().changed(planner=None))


def test_the_environment_is_that_of_the_episode_files_where_the_configuration_names_none(stage, act_config, tmp_path):
    def write(name, recorder):
        columns = {"rewards": np.zeros(2), "terminals": np.zeros(2, bool), "truncations": np.zeros(2, bool)}
        settings = {"state_size": 1, "action_size": None, "recorder": recorder}
        with EpisodeWriter(tmp_path / name / "train.h5", None, "Line-v0", 10.0, None, [], **settings) as writer:
            writer.append(states=np.zeros((2, 1), np.float32), actions=np.zeros(2, np.int64), **columns)
            writer.end_episode(seed=0)

    write("recorded", {"env": {"id": "Line-v0", "kwargs": {}}})
    write("unknown", None)
    data = {"name": "mine", "source": "episodes", "root": str(tmp_path / "unknown"), "recorder": {"num_frames": 2}}
    stage.world.config["data"] = data
    with pytest.raises(UserError, match="data mine of this world name no environment .* data_root="):
        act(act_config("agent=random"))
    act(act_config("agent=random", f"data_root={tmp_path / 'recorded'}"))
    assert {environment.id for environment in stage.opened} == {"Line-v0"}


def test_a_step_of_the_world_may_be_several_of_the_environment(stage, act_config, tmp_path):
    stage.world.config["data"]["stride"] = 3
    act(act_config("agent=random"))
    lengths = [int(row["length"]) for row in rows_of(tmp_path / "line" / "acting" / "random")]
    assert max(lengths) <= 4  # of twelve steps


def test_a_long_play_says_how_far_it_is(line_world, make_environment, monkeypatch, capsys):
    monkeypatch.setattr("genie.agents.play_progress.LINE_SECONDS", 0.0)
    agent = WorldAgent(line_world(), lambda state, seed: torch.ones_like(seed))  # stays where it is
    with PlayProgress("who stays", 3) as progress:
        play_episodes([make_environment() for _ in range(2)], agent, [5, 6, 7], 4,
                      ended=lambda _: progress.ended(), decided=progress.decided)  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[0].startswith("who stays: 0 of 3 episodes, 2 decisions, ")
    assert lines[4].startswith("who stays: 2 of 3 episodes, 9 decisions, ")


def test_one_episode_alone_is_the_episode_among_others(line_world, make_environment):
    """An agent may also be asked step by step, as a recorder does. Most actions go right: episodes end early."""
    world = line_world()

    def choose(state, seed):
        return torch.where(seed % 4 == 0, 0, 2)

    together = play_episodes([make_environment() for _ in range(4)], WorldAgent(world, choose), [5, 6, 7, 8], 20)
    assert len({episode.length for episode in together}) > 2
    environment, agent = make_environment(), WorldAgent(world, choose)
    for episode in together:
        observation = environment.reset(episode.seed)
        agent.reset(observation, episode.seed)
        rewards, over = [], False
        while not over:
            action = agent.act()
            assert isinstance(action, int)
            observation, reward, terminal, truncated = environment.step(action)
            agent.observe(action, observation)
            rewards.append(reward)
            over = terminal or truncated
        assert rewards == episode.rewards and episode.return_ == sum(rewards) and episode.terminal == terminal
    assert play_episodes(environment, RandomAgent(environment.action_space), [6])[0].length <= 12


def test_imagined_rewards_stand_beside_those_of_the_same_steps():
    episode = Episode(3, 0, [1.0, 2.0, 4.0, 8.0], imagined=[(0, 9.0), (1, 8.0), (2, 7.0), (3, 6.0)])
    pairs = pairs_of(episode, horizon=3, discount=0.5)  # the last two were not played to their end
    assert [(pair.step, pair.imagined, pair.true) for pair in pairs] == [(0, 9.0, 3.0), (1, 8.0, 6.0)]
    pairs = pairs_of(replace(episode, terminal=True), horizon=3, discount=0.5)  # behind an end nothing comes
    assert [pair.true for pair in pairs] == [3.0, 6.0, 8.0, 8.0]
    honesty = optimism_of(pairs)
    assert honesty.gap.mean == 7.5 - 6.25 and honesty.gap.count == 1 and honesty.correlation < -0.8


def composed_evaluation(*overrides):
    few = ["planning.episodes=3", "planning.candidates=[4,32]", "planning.horizon=[1,6]", "device=cpu"]
    few += ['planning.overrides=["act.videos=0","planner.iterations=2"]']
    return resolved(
        "evaluate", [*few, *([] if any(word.startswith("run=") for word in overrides) else ["run=line"]), *overrides]
    )


def test_planning_is_checked_for_each_of_several_runs(monkeypatch):
    from genie.evaluation import evaluate

    def opened(path, config):
        raise UserError(f"opened {path}")

    monkeypatch.setattr(evaluate, "open_run", opened)
    with initialize_config_module("conf", version_base="1.3"):
        config = composed_evaluation("run=[outputs/a,outputs/b]", "parts=[planning]")
        with pytest.raises(UserError, match="^opened outputs/a$"):
            evaluate.evaluate_runs(config)


def test_an_evaluation_plays_the_budgets_or_takes_what_was_played(stage, tmp_path):
    subject = types.SimpleNamespace(kind=None, chosen_world=stage.world)
    with initialize_config_module("conf", version_base="1.3"):
        config = composed_evaluation()
        check_planning(config)
        figures = evaluate_planning(config, subject, tmp_path)
        again = evaluate_planning(config, subject, tmp_path)  # played anew
        opened = len(stage.opened)
        given = composed_evaluation(f"planning.played={tmp_path / 'planning'}")
        check_planning(given)
        taken = evaluate_planning(given, subject, tmp_path / "planning")
    assert len(stage.opened) == opened and (tmp_path / "planning.png").exists()
    assert taken == again
    assert list(figures) == ["return_random", "c4_h1", "c4_h6", "c32_h1", "c32_h6"]
    summary = summary_of(tmp_path / "planning" / "c32_h6")
    for play in (figures["c32_h6"], again["c32_h6"]):
        assert play["return"] == summary["return"]["mean"] > figures["return_random"]
        assert play["return_spread"] == pytest.approx(summary["return"]["mean"] - summary["return"]["low"], abs=1e-3)
        assert play["success"] == summary["success"]["mean"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("planning.played=damaged", "damaged/budget.json is no table of budgets"),
        ("planning.played=nowhere", "there is no nowhere/budget.json"),
        ("planning.planner=best", "best"),
        ("planning.candidates=[1]", "planner.candidates=1"),
        ('planning.overrides=["act.videos=many"]', "act.videos"),
    ],
)
def test_a_wrong_budget_of_an_evaluation_is_one_line(override, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "budget.json").write_text('[{"candidates": 3}]')
    with initialize_config_module("conf", version_base="1.3"), pytest.raises(UserError) as error:
        check_planning(composed_evaluation(override))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_planning_is_left_out_without_rewards(stage, tmp_path):
    stage.world.knows_rewards = stage.world.knows_ends = False
    with initialize_config_module("conf", version_base="1.3"), pytest.raises(LeftOut, match="knows no rewards"):
        subject = types.SimpleNamespace(kind=None, chosen_world=stage.world)
        evaluate_planning(composed_evaluation(), subject, tmp_path)
