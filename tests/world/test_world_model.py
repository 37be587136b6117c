import pytest
import torch

from genie.checkpoints import fingerprint
from genie.errors import UserError
from genie.models import DynamicsModel, LatentActionModel, VideoTokenizer
from genie.models.initialization import initialize
from genie.world.sampler import MaskGITSampler
from genie.world.world_model import WorldModel

WINDOW, ACTIONS = 5, 3


@pytest.fixture
def world():
    tokenizer = VideoTokenizer((8, 12), 4, width=16, num_blocks=1, num_heads=2, num_codes=16, latent_dim=4)
    dynamics = DynamicsModel(16, (2, 3), ACTIONS, width=16, num_blocks=2, num_heads=2)
    lam = LatentActionModel((8, 12), 4, ACTIONS, width=16, num_blocks=1, num_heads=2, latent_dim=4)
    for model in (tokenizer, dynamics, lam):
        initialize(model, 0)
    torch.manual_seed(0)
    with torch.no_grad():  # an untrained model hardly cares for its inputs
        dynamics.action_embedding.weight *= 30
        tokenizer.to_pixels.projection.weight *= 10
    for model in (tokenizer, lam):  # codes from data
        model.train()(prompt(8, 4))
        model.eval()
    return WorldModel(tokenizer, dynamics.eval(), lam, WINDOW, 10.0, MaskGITSampler(steps=3, temperature=1.0))


def prompt(batch=2, frames=2, seed=1):
    return torch.rand(batch, frames, 3, 8, 12, generator=torch.Generator().manual_seed(seed))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def actions(*values):
    return torch.tensor(values)


def test_what_comes_out(world):
    state, step = world.step(world.reset(prompt()), actions(0, 2), seeded())
    assert step.frame.shape == (2, 3, 8, 12) and step.frame.dtype == torch.float32
    assert step.frame.min() >= 0 and step.frame.max() <= 1
    assert step.tokens.shape == (2, 6) and torch.equal(state.tokens[:, -1], step.tokens)
    assert step.reward.tolist() == [0, 0] and step.terminal.tolist() == [False, False]
    assert state.actions[:, -1].tolist() == [0, 2]
    assert (world.num_actions, world.image_size, world.fps) == (3, (8, 12), 10.0)


def test_frames_depend_on_the_action_and_the_past(world):
    frames = [world.step(world.reset(prompt()), actions(a, a), seeded())[1].frame for a in range(ACTIONS)]
    for a in range(ACTIONS):
        assert not torch.equal(frames[a], frames[a - 1])
    other = world.step(world.reset(prompt(seed=2)), actions(0, 0), seeded())[1].frame
    assert not torch.equal(other, frames[0])
    mixed = world.step(world.reset(prompt()), actions(0, 1), seeded())[1].frame
    assert torch.equal(mixed[0], frames[0][0])  # a session of a batch does not see the others' actions


def test_the_dynamics_is_asked_with_the_action_at_its_place(world, monkeypatch):
    seen = []
    real = world.dynamics.frame_logits
    monkeypatch.setattr(
        world.dynamics, "frame_logits", lambda tokens, acts: seen.append((tokens, acts)) or real(tokens, acts)
    )
    state = world.reset(prompt(frames=3), actions=torch.tensor([[0, 1], [2, 0]]))
    world.step(state, actions(1, 2), seeded())
    assert len(seen) == 3
    for tokens, between in seen:
        assert torch.equal(tokens[:, :-1], state.tokens)
        assert between.tolist() == [[0, 1, 1], [2, 0, 2]]  # one before each frame but the first
    assert (seen[0][0][:, -1] == world.dynamics.mask_token).all()


def test_a_state_is_a_value(world):
    state = world.reset(prompt())
    tokens, between = state.tokens.clone(), state.actions.clone()
    first, one = world.step(state, actions(1, 2), seeded(3))
    second, two = world.step(state, actions(1, 2), seeded(3))
    assert torch.equal(one.frame, two.frame) and torch.equal(first.tokens, second.tokens)
    world.step(state, actions(0, 0), seeded(4))
    assert torch.equal(state.tokens, tokens) and torch.equal(state.actions, between)
    with pytest.raises(AttributeError):
        state.tokens = tokens
    _, other = world.step(state, actions(1, 2), seeded(9))
    assert not torch.equal(other.tokens, one.tokens)


def test_select_forks_a_state(world):
    world.sampler = MaskGITSampler(steps=3, temperature=0.0)
    state, _ = world.step(world.reset(prompt()), actions(1, 2))
    branches = state.select(torch.tensor([1, 0, 1]))
    _, step = world.step(branches, actions(0, 1, 2))
    _, first = world.step(state, actions(1, 0))
    _, second = world.step(state, actions(0, 2))
    for branch, alone in [(0, first.frame[1]), (1, first.frame[0]), (2, second.frame[1])]:
        torch.testing.assert_close(step.frame[branch], alone, atol=1e-5, rtol=1e-4)


def test_the_window_slides(world):
    state, made, taken = world.reset(prompt(frames=1)), [], []
    for n in range(12):
        action = actions(n % 3, (n + 1) % 3)
        state, step = world.step(state, action, seeded(n))
        made.append(step.tokens)
        taken.append(action)
        frames = state.tokens.shape[1]
        assert frames == min(n + 2, WINDOW - 1) and state.actions.shape[1] == frames - 1
        known = min(frames, len(made))
        assert torch.equal(state.tokens[:, -known:], torch.stack(made[-known:], 1))
        assert torch.equal(state.actions, torch.stack(taken[-(frames - 1) :], 1))


def test_a_long_prompt_keeps_its_end(world):
    frames = prompt(frames=9)
    state, end = world.reset(frames), frames[:, -(WINDOW - 1) :]
    assert torch.equal(state.tokens, world.tokenizer.encode(end))  # no longer clips than in training
    assert torch.equal(state.actions, world.lam.encode(end))  # the transitions between these
    given = torch.arange(16).view(2, 8) % 3
    assert torch.equal(world.reset(frames, given).actions, given[:, -(WINDOW - 2) :])
    world.lam = None
    assert (world.reset(frames).actions == 0).all()
    assert world.reset(prompt(frames=1)).actions.shape == (2, 0)


def test_frames_are_decoded_from_the_tokens_in_sight(world):
    state = world.reset(prompt(frames=3))
    after, step = world.step(state, actions(0, 1), seeded())
    expected = world.tokenizer.decode(torch.cat([state.tokens, step.tokens[:, None]], dim=1))[:, -1]
    torch.testing.assert_close(step.frame, expected)


def test_a_rollout_is_its_steps(world):
    taken = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    frames = world.rollout(prompt(), taken, seeded(5))
    state, generator = world.reset(prompt()), seeded(5)
    for n in range(4):
        state, step = world.step(state, taken[:, n], generator)
        assert torch.equal(frames[:, n], step.frame)


def test_actions_that_the_world_does_not_have(world):
    state = world.reset(prompt())
    for wrong in (3, -1):
        with pytest.raises(UserError, match=rf"action {wrong} .* 3 \(0 … 2\)"):
            world.step(state, actions(0, wrong))


# -- from a run folder ----------------------------------------------------------------------------------------------


def save(stage, path, **extra):
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {"state_dict": stage.state_dict(), "hyper_parameters": {"config": stage.config}, "global_step": 7}
    torch.save(contents | extra, path)


@pytest.fixture
def run(build, tmp_path, monkeypatch):
    """A run folder, and its stages before they were saved."""
    monkeypatch.chdir(tmp_path)  # away from any outputs/
    stages = {name: build(name, "data.num_frames=6") for name in ("dynamics", "cotrain")}
    frozen = stages["dynamics"].frozen
    stages["cotrain"].frozen = frozen
    for name in ("tokenizer", "lam"):
        stages[name] = build(name)
        stages[name].model.load_state_dict(frozen[name].state_dict())
    marks = {name: fingerprint(module) for name, module in frozen.items()}
    for name, stage in stages.items():
        save(stage, tmp_path / name / "checkpoints" / "last.ckpt", fingerprints=marks)
    return tmp_path, stages


def remove(run, name):
    (run / name / "checkpoints" / "last.ckpt").unlink()


def test_loaded_from_its_run_folder(run, make_clips):
    folder, stages = run
    loaded = WorldModel.load(folder)
    assert (loaded.window, loaded.fps, loaded.sampler) == (6, 10.0, MaskGITSampler(steps=2, temperature=1.0))
    frames = make_clips(2, 3)["frames"] / 255
    world = WorldModel(stages["tokenizer"].model.eval(), stages["dynamics"].model.eval(), stages["lam"].model.eval(), 6)
    world.sampler = loaded.sampler
    taken = torch.tensor([[0, 1], [2, 1]])
    assert torch.equal(loaded.rollout(frames, taken, seeded()), world.rollout(frames, taken, seeded()))
    assert not any(module.training for module in (loaded.tokenizer, loaded.dynamics, loaded.lam))


def test_co_trained_worlds_bring_their_own_latent_actions(run):
    folder, stages = run
    remove(folder, "lam")
    assert WorldModel.load(folder).lam is None  # not needed to play
    loaded = WorldModel.load(folder, dynamics="cotrain")
    assert fingerprint(loaded.lam) == fingerprint(stages["cotrain"].lam)
    remove(folder, "dynamics")
    assert fingerprint(WorldModel.load(folder).dynamics) == fingerprint(stages["cotrain"].model)


def test_a_tokenizer_that_was_trained_again_is_refused(run, build):
    folder, stages = run
    other = build("tokenizer", "seed=1")
    save(other, folder / "tokenizer" / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match="tokenizer was trained again after .*dynamics.*overwrite=true") as error:
        WorldModel.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["tokenizer/checkpoints/best.ckpt", "elsewhere.ckpt"])
def test_the_tokenizer_it_was_trained_on_is_found_elsewhere_too(run, build, place):
    folder, stages = run
    stages["dynamics"].config["tokenizer_ckpt"] = str(folder / "elsewhere.ckpt")
    save(stages["dynamics"], folder / "dynamics" / "checkpoints" / "last.ckpt",
         fingerprints={"tokenizer": fingerprint(stages["tokenizer"].model)})  # fmt: skip
    (folder / "tokenizer" / "checkpoints" / "last.ckpt").rename(folder / place)
    save(build("tokenizer", "seed=1"), folder / "tokenizer" / "checkpoints" / "last.ckpt")
    assert fingerprint(WorldModel.load(folder).tokenizer) == fingerprint(stages["tokenizer"].model)


def test_a_damaged_latent_action_model_does_not_keep_from_playing(run):
    folder, _ = run
    (folder / "lam" / "checkpoints" / "last.ckpt").write_bytes(b"not a checkpoint")
    assert WorldModel.load(folder).lam is None


def test_a_latent_action_model_that_was_trained_again_is_not_used(run, build):
    folder, stages = run
    save(build("lam", "seed=1"), folder / "lam" / "checkpoints" / "last.ckpt")
    assert WorldModel.load(folder).lam is None


@pytest.mark.parametrize(
    ("missing", "words"),
    [("dynamics", "no trained world.*stage=dynamics"), ("tokenizer", "there is no checkpoint .*tokenizer")],
)
def test_a_missing_part_is_one_line(run, missing, words):
    folder, _ = run
    remove(folder, "cotrain")
    remove(folder, missing)
    with pytest.raises(UserError, match=words) as error:
        WorldModel.load(folder)
    assert "\n" not in str(error.value)
