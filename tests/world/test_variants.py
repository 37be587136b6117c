"""Worlds of every architecture and of latent actions from tokens, with parts in folders of their own."""

import pytest
import torch

from genie.common.errors import UserError
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.models.baselines import ARCHITECTURES
from genie.runs.loading import fingerprint
from genie.stages import build_stage
from genie.world.world_model import WorldModel

pytestmark = pytest.mark.slow

WINDOW = 5


def save(stage, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {"state_dict": stage.state_dict(), "hyper_parameters": {"config": stage.config}, "global_step": 7}
    torch.save(contents | {"fingerprints": getattr(stage, "fingerprints", {})}, path)


@pytest.fixture
def make_run(build, configure, tmp_path):
    """make_run(*overrides): a run folder that holds the dynamics alone; the other stages are in folders beside it."""

    def make(*overrides):
        ckpts = [f"{part}_ckpt={tmp_path}/{part}.ckpt" for part in ("tokenizer", "lam")]
        overrides = [*overrides, *ckpts, f"data.num_frames={WINDOW}"]
        dynamics = build("dynamics", *overrides)
        with torch.no_grad():  # an untrained model hardly cares
            dynamics.model.action_embedding.weight *= 30
        for part, module in dynamics.frozen.items():
            stage = build_stage(configure(part, *overrides))
            stage.load_dependencies()
            stage.model.load_state_dict(module.state_dict())
            save(stage, tmp_path / f"{part}.ckpt")
            dynamics.fingerprints[part] = fingerprint(module)
        save(dynamics, tmp_path / "run" / "dynamics" / "checkpoints" / "last.ckpt")
        return tmp_path / "run"

    return make


# overrides by name: one network for encoder and decoder, or two
TOKENIZERS = {name: [f"+model.tokenizer.architecture={name}"] for name in ARCHITECTURES} | {
    f"{encoder}, {decoder}": [f"+model.tokenizer.encoder={encoder}", f"+model.tokenizer.decoder={decoder}"]
    for encoder, decoder in [("patch_mlp", "vit"), ("patch_mlp", "st_vivit"), ("st_vivit", "conv")]
}
tokenizers = pytest.mark.parametrize("overrides", TOKENIZERS.values(), ids=TOKENIZERS)


@tokenizers
def test_a_loaded_world_rolls_out_and_its_caches_change_nothing(make_run, make_clips, overrides):
    world = WorldModel.load(make_run(*overrides))

    def rollout(actions):
        return torch.stack([step.observation for step in world.steps(frames, actions)], dim=1)

    frames, actions = make_clips(3, 3)["frames"] / 255, torch.randint(3, (3, 2 * WINDOW))  # the window slides twice
    cached = rollout(actions)
    assert cached.isfinite().all() and not torch.equal(cached, rollout((actions + 1) % 3))
    world.cached = False
    torch.testing.assert_close(cached, rollout(actions), atol=1e-4, rtol=0)


@tokenizers
def test_frames_that_come_one_at_a_time_have_the_tokens_of_the_clip(make_run, make_clips, overrides):
    world = WorldModel.load(make_run(*overrides))
    frames = make_clips(2, WINDOW - 1)["frames"] / 255
    state = world.reset(frames[:, :1])
    for frame in frames[:, 1:].unbind(1):
        state = world.observe(state, frame, torch.tensor([0, 1]))
    assert torch.equal(state.tokens, world.tokenizer.encode(frames))
    mixed = state.joined([state, world.reset(frames[:, :2])])
    shown = [world.step(part, torch.tensor([1, 1]))[1].observation for part in (state, world.reset(frames[:, :2]))]
    together = world.step(mixed, torch.tensor([1, 1, 1, 1]))[1].observation
    torch.testing.assert_close(together, torch.cat(shown), atol=1e-4, rtol=0)


def test_latent_actions_from_tokens_are_inferred_by_the_loaded_world(make_run, make_clips):
    run = make_run("+model.lam.input=tokens")
    world, subject = WorldModel.load(run), TrainedRun(run, torch.device("cpu"))
    frames = make_clips(4, 4)["frames"] / 255
    state = world.reset(frames)
    assert torch.equal(state.actions, world.lam.encode(frames))
    assert world.lam.frozen["tokenizer"] is world.tokenizer
    prediction = subject.lam.model(frames)
    assert torch.equal(prediction.actions, state.actions) and prediction.prediction.shape == (4, 3, 3, 16, 16)


def test_an_evaluated_run_finds_the_parts_it_was_trained_on_in_other_folders(make_run, build):
    run = make_run()
    subject = TrainedRun(run, torch.device("cpu"))
    assert list(subject.checkpoints) == ["tokenizer", "lam", "dynamics"]
    assert fingerprint(subject.tokenizer.model) == fingerprint(WorldModel.load(run).tokenizer)
    save(build("lam", "seed=1"), run.parent / "lam.ckpt")
    assert "lam" not in TrainedRun(run, torch.device("cpu")).checkpoints


def test_tokens_of_another_tokenizer_are_refused(make_run, build, configure):
    run = make_run("+model.lam.input=tokens")
    save(build("tokenizer", "seed=1"), run.parent / "tokenizer.ckpt")
    ckpts = [f"{part}_ckpt={run.parent}/{part}.ckpt" for part in ("tokenizer", "lam")]
    stage = build_stage(configure("dynamics", "+model.lam.input=tokens", *ckpts))
    with pytest.raises(UserError, match="lam.ckpt reads the tokens of another tokenizer than tokenizer_ckpt="):
        stage.load_dependencies()
    for part in ("tokenizer", "lam"):
        (run / part / "checkpoints").mkdir(parents=True)
        (run.parent / f"{part}.ckpt").rename(run / part / "checkpoints" / "last.ckpt")
    with pytest.raises(LeftOut, match="another tokenizer"):
        _ = TrainedRun(run, torch.device("cpu")).lam


def test_latent_actions_from_tokens_need_a_trained_tokenizer(configure, tmp_path):
    stage = build_stage(configure("lam", "+model.lam.input=tokens", f"tokenizer_ckpt={tmp_path}/none.ckpt"))
    with pytest.raises(UserError, match="stage=lam needs a trained tokenizer, and there is no .*none.ckpt"):
        stage.load_dependencies()
    with pytest.raises(UserError, match="model.lam.input='token': choose pixels or tokens"):
        build_stage(configure("lam", "+model.lam.input=token"))
