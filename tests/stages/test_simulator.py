"""What the simulators learn, and from what: `stage=simulator`."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_modules.data_info import DataInfo
from genie.common.errors import UserError
from genie.stages import build_stage, complete
from genie.stages.delta import DeltaStage
from genie.stages.rssm import RssmStage

pytestmark = pytest.mark.slow

ALL = {
    "rssm": ["reconstruction", "dynamics", "reward", "continues", "kl", "imagination", "smoothness", "stability"],
    "delta": ["dynamics", "reward", "continues", "imagination", "smoothness", "constraint"],
}
kinds = pytest.mark.parametrize("kind", ALL)


@pytest.fixture
def batch_of(make_played_clips, make_states):
    return lambda kind, *sizes, **options: (make_played_clips if kind == "rssm" else make_states)(*sizes, **options)


# -- the objective ------------------------------------------------------------------------------------------------


@kinds
def test_every_term_adds_its_share_and_can_be_switched_off(build_simulator, batch_of, kind):
    batch, stage = batch_of(kind, 3, 4), build_simulator(kind).eval()
    if kind == "delta":
        stage.model.high.zero_()  # so that something is beyond the range
    assert set(stage.objective.weights) == set(ALL[kind])
    stage.objective.weights = dict.fromkeys(ALL[kind], 0.5)
    loss, figures = stage.compute(batch)
    assert loss.item() == pytest.approx(sum(figures[f"{name}_loss_weighted"].item() for name in ALL[kind]))
    for name in ALL[kind]:
        assert figures[f"{name}_loss_weighted"] == figures[f"{name}_loss"] * 0.5 != 0
        stage.objective.weights = dict.fromkeys(ALL[kind], 0.5) | {name: 0}
        less, fewer = stage.compute(batch)
        assert less.item() == pytest.approx(loss.item() - figures[f"{name}_loss_weighted"].item(), abs=1e-4)
        assert set(figures) - set(fewer) == {f"{name}_loss", f"{name}_loss_weighted"}


@kinds
def test_every_parameter_learns_unless_a_term_is_off(build_simulator, batch_of, kind):
    stage = build_simulator(kind).train()
    stage.compute(batch_of(kind, 4, 4))[0].backward()
    assert not stage.leaves_out_parameters(0)
    assert [name for name, value in stage.model.named_parameters() if value.grad is None] == []
    assert build_simulator(kind, "simulator.objective.reward=0").leaves_out_parameters(0)


def gradients(stage, terms, name):
    stage.zero_grad()
    terms[name]().backward(retain_graph=True)
    return {part for part, value in stage.model.named_parameters() if value.grad is not None and value.grad.any()}


def terms_of(stage, batch):
    frames, model = stage.frames(batch), stage.model
    incoming = model.incoming(batch["actions"][:, :-1])
    return stage.terms(batch, frames, incoming, model.filter(model.encode(frames), incoming))


def test_the_prior_follows_the_posterior_and_the_other_way_round(build_simulator, make_played_clips):
    stage = build_simulator("rssm", "simulator.free_nats=0").train()
    terms = terms_of(stage, make_played_clips(3, 4))
    dynamics, kl = (gradients(stage, terms, name) for name in ("dynamics", "kl"))
    assert any(name.startswith("prior.") for name in dynamics) and not any(name.startswith("prior.") for name in kl)
    assert any(name.startswith("posterior.") for name in kl)
    assert not any(name.startswith("decoder.") for name in dynamics | kl)
    assert terms["dynamics"]() == terms["kl"]()  # the same divergence, other gradients


def test_divergences_below_the_free_nats_are_left_alone(build_simulator, make_played_clips):
    stage = build_simulator("rssm", "simulator.free_nats=1000").train()
    terms = terms_of(stage, make_played_clips(3, 4))
    assert terms["kl"]() == 1000 and not gradients(stage, terms, "kl") and not gradients(stage, terms, "dynamics")


def test_clips_imagine_from_all_places_that_leave_room(build_simulator, make_states):
    stage, batch = build_simulator("delta"), {"seed": torch.arange(300), "actions": torch.zeros(300, 8)}
    found = stage.starts(batch, 5).bincount()
    assert len(found) == 3 and (found > 70).all()  # 0, 1 and 2, of which 5 steps lead to the last of 8
    assert stage.imagined_steps() == 3  # of the tiny clips of the configuration


@kinds
def test_what_is_drawn_for_a_clip_does_not_depend_on_its_company(build_simulator, batch_of, kind):
    stage, batch = build_simulator(kind), batch_of(kind, 4, 4)
    alone = {name: value[2:3] for name, value in batch.items()}
    assert torch.equal(stage.noise(batch, 1, 5)[2:3], stage.noise(alone, 1, 5))
    assert not torch.equal(stage.noise(batch, 1, 5), stage.noise(batch, 0, 5))
    loss = stage.train().compute(alone)[0]
    torch.manual_seed(5)
    assert torch.equal(loss, stage.compute(alone)[0])


@kinds
def test_bf16_autocast_gives_losses_close_to_fp32(build_simulator, batch_of, kind):
    stage, batch = build_simulator(kind).eval(), batch_of(kind, 4, 4)
    exact = stage.compute(batch)[0].detach()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = stage.compute(batch)
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.detach(), exact, atol=0.02, rtol=0.05)
    assert all(value.grad.isfinite().all() for value in stage.model.parameters() if value.grad is not None)


# -- sizes and data -------------------------------------------------------------------------------------------------


def data_of(frames=True, columns=("actions", "rewards", "terminals"), **info):
    facts = {"num_actions": 3, "action_meanings": None, "object_names": [], "fps": 10.0}
    facts |= {"image_size": (16, 16), "background": np.zeros((3, 16, 16), np.uint8)} if frames else {
        "image_size": None, "background": None, "state_mean": np.zeros(4), "state_std": np.ones(4)}  # fmt: skip
    reader = SimpleNamespace(columns=columns)
    return SimpleNamespace(
        info=DataInfo(**facts | info), root="data/mine", train_dataset=SimpleNamespace(reader=reader)
    )


def test_sizes_are_those_of_the_data(configure):
    frames, states = configure("simulator"), configure("simulator", "simulator=delta")
    complete(frames, data_of)
    assert frames["simulator"]["sizes"] == {"num_actions": 3, "action_size": None, "state_size": None}
    complete(states, lambda: data_of(frames=False, num_actions=None, action_size=2))
    assert states["simulator"]["sizes"] == {"num_actions": None, "action_size": 2, "state_size": 4}
    assert isinstance(build_stage(frames), RssmStage) and isinstance(build_stage(states), DeltaStage)
    assert build_stage(frames).model.actions.size == 3 and build_stage(states).model.state_size == 4


@pytest.mark.parametrize(
    ("overrides", "data", "words"),
    [
        ([], data_of(frames=False), "simulator=rssm learns from frames, and data/mine holds states"),
        (["simulator=delta"], data_of(), "simulator=delta learns from states, and data/mine holds frames"),
        ([], data_of(num_actions=None), "data/mine records no actions"),
        ([], data_of(columns=("actions", "terminals")), "no rewards: give simulator.objective.reward=0"),
        ([], data_of(columns=("actions", "rewards")), "no terminals: give simulator.objective.continues=0"),
    ],
)
def test_data_that_nothing_can_be_learned_from(configure, overrides, data, words):
    with pytest.raises(UserError, match=words):
        complete(configure("simulator", *overrides), lambda: data)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("simulator.model.encoder=mlp", "simulator.model: encoder='mlp'"),
        ("simulator.imagine=often", "simulator.imagine=often must be one of sample, mode"),
        ("simulator.kind=gan", "simulator.kind=gan must be one of rssm, delta"),
        ("trainer.strategy=fsdp", "use trainer=ddp instead of trainer=fsdp"),
        ("simulator.objective.kl=-1", "simulator.objective.kl=-1"),
    ],
)
def test_wrong_options_are_one_line(configure, override, words):
    with pytest.raises(UserError, match=words):
        build_stage(configure("simulator", override))


@kinds
def test_stages_are_copied_with_what_they_know(build_simulator, batch_of, kind):
    stage = build_simulator(kind).eval()
    twin = copy.deepcopy(stage)  # as an average of the weights does it
    assert torch.equal(twin.compute(batch_of(kind))[0], stage.compute(batch_of(kind))[0])
    assert stage.example_flops() > 1000


# -- learning ----------------------------------------------------------------------------------------------------------


def learned(stage, batches, lr=3e-3):
    optimizer = torch.optim.AdamW(stage.model.parameters(), lr=lr, betas=(0.9, 0.99))
    for batch in batches:
        loss, _ = stage.train().compute(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.model.parameters(), 1.0)
        optimizer.step()
    return stage.eval()


def test_a_linear_system_is_recovered(build_simulator, make_states):
    stage = build_simulator("delta", "data.num_frames=8")
    learned(stage, (make_states(32, 8, seed=seed) for seed in range(300)))
    test = make_states(64, 8, seed=1000)
    with torch.no_grad():
        stage.compute(test)
    errors = stage.errors.compute()
    assert stage.prompt_length == 4 and errors[""].shape == (4,)
    assert (errors[""] < 0.15 * errors["unchanged"]).all(), errors
    states, actions = test["states"][:, 0], test["actions"][:, 0]
    predicted = stage.model.following(states, stage.model.predict(states, actions).delta).mean(0)
    torch.testing.assert_close(predicted, test["states"][:, 1], atol=0.05, rtol=0)
    outcomes = stage.outcome_metrics.compute()
    assert outcomes["reward_error"] < 0.2 * outcomes["reward_error_zero"] and outcomes["reward_recall"] > 0.8


def test_a_moving_square_is_imagined_for_several_steps(build_simulator, make_played_clips):
    stage = build_simulator("rssm", "data.num_frames=8")
    learned(stage, (make_played_clips(16, 8, seed=seed) for seed in range(330)))
    with torch.no_grad():
        stage.compute(make_played_clips(64, 8, seed=1000))
    ours, copied, still = (metric.compute() for metric in stage.horizon_metrics)
    assert (ours > torch.maximum(copied, still) + 5).all(), (ours, copied, still)
    outcomes = stage.outcome_metrics.compute()
    assert outcomes["reward_recall"] > 0.9 and outcomes["terminal_recall"] > 0.9 and outcomes["reward_error"] < 0.1
