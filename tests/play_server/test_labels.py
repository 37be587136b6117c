"""Names of actions: the user's, those the evaluation suggests, and the keys that follow from them."""

import json

import pytest

from genie.common.errors import UserError
from genie.play_server.labels import action_labels, idle_action, make_actions, suggest

NAMES = ["noop", "up", "down"]


@pytest.fixture
def evaluated(tmp_path):
    def write(confusion):
        (tmp_path / "evaluation").mkdir(exist_ok=True)
        (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps({"lam": {"confusion": confusion}}))
        return tmp_path

    return write


def test_latent_actions_are_called_what_they_mostly_stand_for(evaluated):
    run = evaluated([[53, 0, 230], [284, 1, 0], [46, 216, 2]])
    assert suggest(run, 3, False, NAMES) == ["down", "noop", "up"]


def test_what_is_not_clear_has_no_name_and_the_surest_has_the_plain_one(evaluated):
    run = evaluated([[40, 30, 30], [0, 60, 40], [0, 100, 0], [0, 0, 0]])
    assert suggest(run, 4, False, NAMES) == [None, "up (2)", "up", None]


@pytest.mark.parametrize(
    "confusion",
    [None, [[1, 2, 3]], [[1], [2], [3]], "x", [1, 2, 3], [["a"] * 3] * 3, [[1, None, {}]] * 3, [[-1, -2, 9]] * 3],
)
def test_a_table_of_another_world_names_nothing(evaluated, confusion):
    assert suggest(evaluated(confusion), 3, False, NAMES) == [None] * 3


def test_without_an_evaluation_or_names(tmp_path, evaluated):
    assert suggest(tmp_path, 3, False, NAMES) == [None] * 3
    assert suggest(evaluated([[1, 0, 0]] * 3), 3, False, None) == [None] * 3


def test_a_world_on_true_actions_has_theirs(tmp_path):
    assert suggest(tmp_path, 3, True, NAMES) == NAMES
    assert suggest(tmp_path, 4, True, NAMES) == [*NAMES, None]


def test_the_users_names_come_first():
    assert action_labels({0: "stay", 2: 7}, ["down", "noop", None]) == ["stay", "noop", "7"]
    assert action_labels(["left", "right"], [None, None, None]) == ["left", "right", "action 2"]
    assert action_labels(None, [None, "up"]) == ["action 0", "up"]


@pytest.mark.parametrize(
    "given", ["up", 3, {3: "up"}, {-1: "up"}, {"a": "up"}, {0: ""}, {0: None}, {0: "x" * 99}, [1] * 4]
)
def test_names_that_cannot_be_are_one_line(given):
    with pytest.raises(UserError, match=r"play\.actions") as error:
        action_labels(given, [None] * 3)
    assert "\n" not in str(error.value)


def test_keys():
    actions = make_actions(["noop", "UP", "down", "up", "right", "left", *"ghijkl"])
    assert [action.keys for action in actions[:6]] == [
        ("1",), ("2", "ArrowUp"), ("3", "ArrowDown"), ("4",), ("5", "ArrowRight"), ("6", "ArrowLeft")
    ]  # fmt: skip
    assert actions[9].keys == ("0",) and actions[10].keys == ()
    keys = [key for action in actions for key in action.keys]
    assert len(keys) == len(set(keys))


def test_the_idle_action():
    assert idle_action(None, ["up", "Stay"]) == 1 and idle_action(None, ["up", "down"]) is None
    assert idle_action(0, ["up", "stay"]) == 0
    with pytest.raises(UserError, match=r"play\.idle=2"):
        idle_action(2, ["up", "stay"])
