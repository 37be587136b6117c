import pytest

from genie.common.errors import UserError
from genie.stages.optimization import schedule_factor


def test_warm_up_is_linear_and_reaches_the_rate():
    for name, options in {"cosine": {}, "wsd": {"decay_steps": 20}, "constant": {}}.items():
        factor = schedule_factor(name, 100, warmup_steps=10, **options)
        assert [round(factor(step), 9) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1, 1], name


def test_cosine():
    factor = schedule_factor("cosine", 100, warmup_steps=20, min_factor=0.1)
    assert factor(60) == pytest.approx(0.55)  # half-way
    assert factor(100) == pytest.approx(0.1)
    assert factor(1000) == pytest.approx(0.1)
    falling = [factor(step) for step in range(20, 101)]
    assert all(a > b for a, b in zip(falling, falling[1:], strict=False))
    assert schedule_factor("cosine", 100)(0) == 1
    assert schedule_factor("cosine", 10, warmup_steps=10)(9) == 1


def test_wsd_is_flat_then_linear():
    factor = schedule_factor("wsd", 100, warmup_steps=10, decay_steps=40, min_factor=0.2)
    assert {factor(step) for step in range(10, 61)} == {1}
    assert factor(80) == pytest.approx(0.6)
    assert factor(100) == pytest.approx(0.2)
    longer = schedule_factor("wsd", 200, warmup_steps=10, decay_steps=40, min_factor=0.2)
    assert all(longer(step) == factor(step) for step in range(61))  # a longer run is the same up to the decay


def test_wsd_decays_over_a_share_of_runs_of_any_length():
    factor = schedule_factor("wsd", 100, warmup_steps=10, decay_share=0.2)
    assert factor(80) == 1 and factor(90) == pytest.approx(0.5) and factor(100) == 0
    short = schedule_factor("wsd", 5, warmup_steps=4, decay_share=0.5)
    assert [short(step) for step in (3, 4, 5)] == [1, 1, 0]
    given = schedule_factor("wsd", 100, warmup_steps=10, decay_share=0.2, decay_steps=50)
    assert given(75) == pytest.approx(0.5)


def test_a_preset_names_the_schedule_of_a_stage(configure):
    assert configure("dynamics", "model=pong")["schedule"] == {
        "name": "wsd", "warmup_steps": 100, "min_lr": 0, "decay_share": 0.2, "decay_steps": None,
    }  # fmt: skip
    assert configure("lam", "model=pong")["schedule"]["name"] == "cosine"
    assert configure("dynamics", "model=pong", "schedule=cosine")["schedule"]["name"] == "cosine"
    assert configure("dynamics", "model=pong", "recipe.dynamics.schedule=cosine")["schedule"]["name"] == "cosine"


def test_the_schedules_fit_the_shortest_runs(configure):
    for name in ("wsd", "cosine", "constant"):
        config = configure("tokenizer", f"schedule={name}", "trainer.max_steps=5")
        options = {key: value for key, value in config["schedule"].items() if key != "min_lr"}
        assert schedule_factor(max_steps=5, **options)(2) == 1


def test_constant():
    assert {schedule_factor("constant", 100, warmup_steps=10)(step) for step in range(10, 101)} == {1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cosine", 10, 11), "schedule.warmup_steps=11 .*trainer.max_steps=10"),
        (("constant", 10, 11), "schedule.warmup_steps=11 .*trainer.max_steps=10"),
        (("wsd", 10, 5, 0.0, 6), "warmup_steps=5 and schedule.decay_steps=6 .*max_steps=10"),
        (("cosine", 10, 2, 1.5), "min_lr .*1.5 times optimizer.lr"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arguments, words):
    with pytest.raises(UserError, match=words) as error:
        schedule_factor(*arguments)
    assert "\n" not in str(error.value)


def test_the_optimizer_follows_the_configuration(build):
    stage = build("tokenizer", "trainer.max_steps=50", "optimizer.lr=1e-2", "schedule.min_lr=1e-3")
    setup = stage.configure_optimizers()
    optimizer, scheduler = setup["optimizer"], setup["lr_scheduler"]["scheduler"]
    assert setup["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(51):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:3] == pytest.approx([5e-3, 1e-2, 1e-2]) and rates[50] == pytest.approx(1e-3)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.9)


def test_a_schedule_that_does_not_fit_is_told_before_any_work(build):
    with pytest.raises(UserError, match="trainer.max_steps=1"):
        build("tokenizer", "trainer.max_steps=1")


@pytest.mark.parametrize("rate", ["0", "-0.001", "fast"])
def test_a_learning_rate_that_is_none_is_told_before_any_work(build, rate):
    with pytest.raises(UserError, match=f"^optimizer.lr={rate} must be"):
        build("tokenizer", f"optimizer.lr={rate}")
