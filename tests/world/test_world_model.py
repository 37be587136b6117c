import pytest
import torch

from genie.common.errors import UserError
from genie.models import DynamicsModel
from genie.models.dynamics import CONDITIONINGS
from genie.models.initialization import initialize
from genie.runs.loading import fingerprint
from genie.world.sampler import Sampler
from genie.world.state import WorldState
from genie.world.world_model import WorldModel

WINDOW, ACTIONS = 5, 3  # of the fixture `world`


def prompt(batch=2, frames=2, seed=1):
    return torch.rand(batch, frames, 3, 8, 12, generator=torch.Generator().manual_seed(seed))


def actions(*values):
    return torch.tensor(values)


def test_what_comes_out(world):
    state, step = world.step(world.reset(prompt()), actions(0, 2))
    assert step.observation.shape == (2, 3, 8, 12) and step.observation.dtype == torch.float32
    assert step.observation.min() >= 0 and step.observation.max() <= 1
    assert step.tokens.shape == (2, 6) and torch.equal(state.tokens[:, -1], step.tokens)
    assert step.reward.tolist() == [0, 0] and step.terminal.tolist() == [False, False]
    assert state.actions[:, -1].tolist() == [0, 2]
    assert (world.num_actions, world.image_size, world.fps) == (3, (8, 12), 10.0)


def test_frames_depend_on_the_action_and_the_past(world):
    frames = [world.step(world.reset(prompt()), actions(a, a))[1].observation for a in range(ACTIONS)]
    for a in range(ACTIONS):
        assert not torch.equal(frames[a], frames[a - 1])
    other = world.step(world.reset(prompt(seed=2)), actions(0, 0))[1].observation
    assert not torch.equal(other, frames[0])
    mixed = world.step(world.reset(prompt()), actions(0, 1))[1].observation
    assert torch.equal(mixed[0], frames[0][0])  # a session of a batch does not see the others' actions


def test_the_dynamics_is_asked_with_the_action_at_its_place(world, monkeypatch):
    world.cached = False
    seen = []
    real = world.dynamics.hidden
    monkeypatch.setattr(
        world.dynamics, "hidden", lambda tokens, acts: seen.append((tokens, acts)) or real(tokens, acts)
    )
    state = world.reset(prompt(frames=3), actions=torch.tensor([[0, 1], [2, 0]]))
    world.step(state, actions(1, 2))
    assert len(seen) == 3
    for tokens, between in seen:
        assert torch.equal(tokens[:, :-1], state.tokens)
        assert between.tolist() == [[0, 1, 1], [2, 0, 2]]  # one before each frame but the first
    assert (seen[0][0][:, -1] == world.dynamics.mask_token).all()


def test_a_state_is_a_value(world):
    state = world.reset(prompt(), seed=3)
    tokens, between = state.tokens.clone(), state.actions.clone()
    first, one = world.step(state, actions(1, 2))
    far, _ = world.step(first, actions(0, 0))
    for _ in range(WINDOW):  # until the memory that they share begins anew
        far, _ = world.step(far, actions(0, 1))
    second, two = world.step(state, actions(1, 2))
    torch.testing.assert_close(one.observation, two.observation, atol=1e-5, rtol=0)
    assert torch.equal(first.tokens, second.tokens)
    world.step(state, actions(0, 0))
    assert torch.equal(state.tokens, tokens) and torch.equal(state.actions, between)
    with pytest.raises(AttributeError):
        state.tokens = tokens
    _, other = world.step(state.reseeded(9), actions(1, 2))
    assert not torch.equal(other.tokens, one.tokens)


def played(world, state, taken):
    """Tokens [B, n, S] and frames of actions int64 [B, n], and the state after them."""
    tokens, frames = [], []
    for action in taken.unbind(1):
        state, step = world.step(state, action)
        tokens.append(step.tokens)
        frames.append(step.observation)
    return torch.stack(tokens, 1), torch.stack(frames, 1), state


def sequence(batch, length, seed=0):
    return torch.randint(ACTIONS, (batch, length), generator=torch.Generator().manual_seed(seed))


SAMPLERS = {
    "maskgit": Sampler(steps=3, temperature=1.0),
    "adaptive": Sampler(steps=4, temperature=1.0, entropy_bound=2.2),
    "greedy": Sampler(steps=1, temperature=0.0),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("keep", [1, 2, WINDOW - 1])
def test_the_same_video_with_and_without_the_cache(world, sampler, keep):
    """Far beyond the window, so that it begins anew several times."""
    world.sampler, world.keep = SAMPLERS[sampler], keep
    taken = sequence(2, 4 * WINDOW)
    tokens, frames, state = played(world, world.reset(prompt(), seed=1), taken)
    world.cached = False
    uncached = played(world, world.reset(prompt(), seed=1), taken)
    assert torch.equal(tokens, uncached[0])
    torch.testing.assert_close(frames, uncached[1], atol=1e-4, rtol=0)
    assert state.lengths == uncached[2].lengths and torch.equal(state.actions, uncached[2].actions)
    assert len(tokens.flatten(0, 1).unique(dim=0)) > 4  # a video in which something happens


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_cached_logits_are_those_of_a_training_clip(world, conditioning, positions, monkeypatch):
    """Before and after the window slides, for what each pass asks: the plain model on the frames in sight."""
    options = {"temporal_positions": positions, "max_frames": WINDOW}
    dynamics = DynamicsModel(16, (2, 3), ACTIONS, width=16, num_blocks=2, num_heads=2, conditioning=conditioning,
                             transformer=options)  # fmt: skip
    initialize(dynamics, 0)
    with torch.no_grad():
        dynamics.action_embedding.weight *= 30
    world.dynamics = dynamics.eval()
    world.sampler = Spy(SAMPLERS["maskgit"])
    state = world.reset(prompt(3), seed=1)
    for action in sequence(3, 3 * WINDOW).unbind(1):
        world.sampler.asked.clear()
        before, (state, _) = state.slid(WINDOW, world.keep), world.step(state, action)
        for tokens, asked, logits in world.sampler.asked:
            clip = torch.cat([before.tokens, tokens[:, None]], dim=1)
            between = torch.cat([before.actions, action[:, None]], dim=1)
            expected = dynamics.logits(dynamics.hidden(clip, between)[:, -1])
            if asked is not None:
                expected = expected.gather(1, asked[..., None].expand(-1, -1, expected.shape[-1]))
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
        assert len(world.sampler.asked) == 3


class Spy:
    """A sampler that notes (tokens, positions, logits) of every pass."""

    def __init__(self, sampler):
        self.sampler, self.asked = sampler, []

    def sample(self, predict, *rest):
        def spied(tokens, asked):
            logits = predict(tokens, asked)
            self.asked.append((tokens, asked, logits))
            return logits

        return self.sampler.sample(spied, *rest)


def test_a_pass_runs_one_frame(world, monkeypatch):
    lengths = []
    real = world.dynamics.extend
    monkeypatch.setattr(
        world.dynamics, "extend", lambda tokens, *rest: lengths.append(tokens.shape[1]) or real(tokens, *rest)
    )
    state = world.reset(prompt(frames=3))
    state, _ = world.step(state, actions(0, 1))
    assert lengths == [2, 2, 1, 1]  # the prompt but its last frame; that and the new one; twice the new one
    lengths.clear()
    state, _ = world.step(state, actions(0, 1))
    assert lengths == [2, 1, 1]


def test_without_decoding_the_decoder_is_not_run(world, monkeypatch):
    for world.cached in (True, False):
        state = world.reset(prompt(), seed=1)
        with monkeypatch.context() as patch:
            patch.setattr(world.tokenizer.decoder, "forward", lambda *given, **options: pytest.fail("it was run"))
            for action in sequence(2, 2 * WINDOW).unbind(1):
                state, step = world.step(state, action, decode=False)
                assert step.observation is None
        assert torch.equal(step.tokens, state.tokens[[0, 1], [length - 1 for length in state.lengths]])


def test_features_are_the_newest_frames_on_the_grid(world):
    state = world.reset(prompt(frames=3))
    features, codes = world.features(state), world.tokenizer.quantizer.lookup(state.tokens)  # [2, 3, 6, 4]
    for frame, shown in enumerate([0, 0, 1, 2]):  # the first frame twice: there are three
        for row, column in [(0, 0), (0, 2), (1, 1)]:
            assert torch.equal(features[:, 4 * frame : 4 * frame + 4, row, column], codes[:, shown, 3 * row + column])
    assert world.feature_shape == features.shape[1:] == (16, 2, 3)


def test_every_frame_draws_noise_of_its_own(world, monkeypatch):
    drawn, real = [], Sampler.sample

    def sample(self, predict, noise, *rest):
        drawn.append(noise.uniform(0, 6))
        return real(self, predict, noise, *rest)

    monkeypatch.setattr(Sampler, "sample", sample)
    played(world, world.reset(prompt()), sequence(2, 3))
    assert len(torch.cat(drawn).unique(dim=0)) == 6  # two worlds, three frames


def test_memory_does_not_grow(world):
    state = world.reset(prompt())
    sizes = set()
    for action in sequence(2, 40).unbind(1):
        state, _ = world.step(state, action)
        sizes.add((state.dynamics.cache.num_bytes(), state.decoder.cache.num_bytes(), id(state.dynamics.cache)))
        assert state.tokens.shape[1] <= WINDOW
    assert len(sizes) == 1


@pytest.mark.parametrize("frames", [1, 3, 4])
def test_forks_of_a_warmed_state_run_no_frame_again(world, frames, monkeypatch):
    state, run, extend = world.reset(prompt(1, frames)), [], world.dynamics.extend

    def counted(tokens, *given):
        run.append(tokens.shape[0] * tokens.shape[1])
        return extend(tokens, *given)

    monkeypatch.setattr(world.dynamics, "extend", counted)
    world.sampler = Sampler(1, 0.0)
    plain = world.step(state.select([0] * 5), actions(0, 1, 2, 0, 1))[1]
    assert sum(run) == 5 * (frames + 1)  # the new frame with the last one, and those before
    warm = world.warmed(state)
    run.clear()
    forked = world.step(warm.select([0] * 5), actions(0, 1, 2, 0, 1))[1]
    assert sum(run) == 5 * 2
    assert torch.equal(forked.tokens, plain.tokens)


def test_select_forks_a_state(world):
    state, _ = world.step(world.reset(prompt(), seed=4), actions(1, 2))
    branches = state.select(torch.tensor([1, 0, 1]))
    forked, step = world.step(branches, actions(0, 1, 2))
    _, first = world.step(state, actions(1, 0))
    _, second = world.step(state, actions(0, 2))
    for branch, alone in [(0, first.observation[1]), (1, first.observation[0]), (2, second.observation[1])]:
        torch.testing.assert_close(step.observation[branch], alone, atol=1e-4, rtol=0)
    same = state.select([0] * 3)
    _, steps = world.step(same, actions(1, 1, 1))
    assert torch.equal(steps.tokens[0], steps.tokens[1])  # one world, one future …
    _, steps = world.step(same.reseeded(5), actions(1, 1, 1))
    assert len(steps.tokens.unique(dim=0)) > 1  # … unless it is told to have several


def test_worlds_of_different_lengths_in_one_batch(world):
    """Each gives the video that it gives alone, through every beginning of a window."""
    taken, starts = sequence(3, 4 * WINDOW), (1, 3, 4)
    alone = []
    for row, count in enumerate(starts):
        tokens, frames, _ = played(world, world.reset(prompt(1, count, seed=row), seed=row), taken[row : row + 1])
        alone.append((tokens, frames))
    states = [world.reset(prompt(1, count, seed=row), seed=row) for row, count in enumerate(starts)]
    advanced, _ = world.step(states[1], taken[1, :1])
    tokens, frames, state = played(world, WorldState.joined([states[0], advanced, states[2]]),
                                   torch.stack([taken[0, :-1], taken[1, 1:], taken[2, :-1]]))  # fmt: skip
    for row, offset in [(0, 0), (1, 1), (2, 0)]:
        length = tokens.shape[1]
        assert torch.equal(tokens[row], alone[row][0][0, offset : offset + length])
        torch.testing.assert_close(frames[row], alone[row][1][0, offset : offset + length], atol=1e-4, rtol=0)
    single = state.select([1])
    again, _, _ = played(world, single, taken[1:2, :3])
    together, _, _ = played(world, state, taken[:, :3])
    assert torch.equal(again[0], together[1])
    world.cached = False
    assert torch.equal(played(world, state, taken[:, :3])[0], together)


def test_the_window_slides(world):
    state, made, taken = world.reset(prompt(frames=1)), [], []
    lengths = []
    for n in range(12):
        action = actions(n % 3, (n + 1) % 3)
        state, step = world.step(state, action)
        made.append(step.tokens)
        taken.append(action)
        frames = state.tokens.shape[1]
        lengths.append(frames)
        assert state.lengths == (frames, frames) and state.actions.shape[1] == frames - 1
        known = min(frames, len(made))
        assert torch.equal(state.tokens[:, -known:], torch.stack(made[-known:], 1))
        assert torch.equal(state.actions, torch.stack(taken[-(frames - 1) :], 1))
    # full with 5, it begins anew with the last 2: the next frame is the third
    assert lengths == [2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 3, 4]


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
    after, step = world.step(state, actions(0, 1))
    expected = world.tokenizer.decode(torch.cat([state.tokens, step.tokens[:, None]], dim=1))[:, -1]
    torch.testing.assert_close(step.observation, expected, atol=1e-5, rtol=0)


def test_steps_are_those_of_each_action(world):
    taken = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    five, six = (torch.stack([one.observation for one in world.steps(prompt(), taken, seed)], 1) for seed in (5, 6))
    assert torch.equal(five, played(world, world.reset(prompt(), seed=5), taken)[1])
    assert not torch.equal(five, six)


# -- frames that come in one at a time ------------------------------------------------------------------------------


def test_observed_frames_are_those_of_a_prompt(world):
    frames, taken = prompt(2, 4), sequence(2, 3)
    state = world.reset(frames[:, :1], seed=2)
    for t in range(1, 4):
        state = world.observe(state, frames[:, t], taken[:, t - 1])
    whole = world.reset(frames, taken, seed=2)
    assert torch.equal(state.tokens, whole.tokens) and torch.equal(state.actions, whole.actions)
    assert torch.equal(world.step(state, actions(0, 1))[1].tokens, world.step(whole, actions(0, 1))[1].tokens)


def test_observing_slides_the_window_and_encodes_what_is_in_sight(world):
    frames, taken = prompt(2, 13), sequence(2, 12)
    state = world.reset(frames[:, :2], taken[:, :1])
    for t in range(2, 13):
        before = state.slid(WINDOW, world.keep)
        state = world.observe(state, frames[:, t], taken[:, t - 1])
        count = state.tokens.shape[1]
        assert torch.equal(state.tokens[:, -1], world.tokenizer.encode(frames[:, t + 1 - count : t + 1])[:, -1])
        assert torch.equal(state.tokens[:, :-1], before.tokens)  # what was encoded once stays
        assert torch.equal(state.observed.frames, frames[:, t + 1 - count : t + 1])
    assert torch.equal(state.actions, taken[:, -(count - 1) :])


def test_imagination_leaves_the_observed_state_alone(world):
    frames, taken = prompt(2, 4), sequence(2, 3)
    state = world.reset(frames[:, :3], taken[:, :2])
    plain = world.observe(state, frames[:, 3], taken[:, 2])
    imagined = state.select([0, 1, 0, 1])
    for _ in range(6):
        imagined, _ = world.step(imagined, actions(0, 1, 2, 0))
    with pytest.raises(ValueError, match="has imagined frames: observe from the state before"):
        world.observe(imagined, frames[:, 3].repeat(2, 1, 1, 1), actions(0, 1, 2, 0))
    again = world.observe(state, frames[:, 3], taken[:, 2])
    assert torch.equal(again.tokens, plain.tokens)
    joined = WorldState.joined([world.reset(frames[:, :1]), state])
    assert joined.lengths == (1, 1, 3, 3)
    more = world.observe(joined, frames[:, 3].repeat(2, 1, 1, 1), taken[:, 2].repeat(2))
    assert torch.equal(more.tokens[2:], plain.tokens)


# -- mistakes -------------------------------------------------------------------------------------------------------


def test_actions_that_the_world_does_not_have(world):
    state = world.reset(prompt())
    for wrong in (3, -1):
        with pytest.raises(UserError, match=rf"action {wrong} .* 3 \(0 … 2\)"):
            world.step(state, actions(0, wrong))
        with pytest.raises(UserError, match=rf"action {wrong}"):
            world.observe(state, prompt()[:, 0], actions(0, wrong))


def test_windows_that_cannot_be(world):
    for settings, words in [
        ({"window": 1}, "window=1"),
        ({"keep": 0}, "keep=0"),
        ({"keep": 5, "window": 5}, "1 … .* 4"),
    ]:
        with pytest.raises(ValueError, match=words):
            WorldModel(world.tokenizer, world.dynamics, **settings)


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
    assert (loaded.window, loaded.fps, loaded.sampler) == (6, 10.0, Sampler(steps=2, temperature=1.0))
    frames = make_clips(2, 3)["frames"] / 255
    world = WorldModel(stages["tokenizer"].model.eval(), stages["dynamics"].model.eval(), stages["lam"].model.eval(), 6)
    world.sampler = loaded.sampler
    taken = torch.tensor([[0, 1], [2, 1]])
    ours, theirs = (played(one, one.reset(frames), taken)[1] for one in (loaded, world))
    assert torch.equal(ours, theirs)
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
