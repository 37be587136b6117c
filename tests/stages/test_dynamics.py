import math

import pytest
import torch
import torch.nn.functional as F

from genie.common.errors import UserError
from genie.models import DynamicsModel
from genie.models.vocabulary import CodeHead
from genie.runs.loading import fingerprint
from genie.stages import build_stage
from genie.stages.dynamics import draw_frames, dynamics_loss, teacher_forced
from genie.stages.masking import expected_masked


class Colours:
    """A tokenizer of plain frames: all tokens of a frame are its colour."""

    @staticmethod
    def encode(frames):
        return (frames[:, :, 0, 0, :1] * 255).round().long().expand(-1, -1, 16)


@pytest.mark.parametrize("context", ["masked", "clean"])
def test_actions_of_the_environment_are_learned_and_aligned(build, context):
    """Action t gives frame t+1 its colour, and nothing else tells it: shifted by one, nothing could be learned."""

    def clips(seed):
        generator = torch.Generator().manual_seed(seed)
        colours = torch.randint(3, (16, 4), generator=generator)
        frames = colours[:, :, None, None, None].expand(-1, -1, 3, 16, 16).to(torch.uint8)
        last = torch.randint(3, (16, 1), generator=generator)  # its frame is not in the clip
        return {"frames": frames, "actions": torch.cat([colours[:, 1:], last], 1), "seed": torch.arange(16) + seed * 16}

    stage = build("dynamics", "stage.actions=environment", "model.tokenizer.num_codes=3", f"stage.context={context}")
    stage.frozen["tokenizer"] = Colours
    optimizer = torch.optim.AdamW(stage.trained().parameters(), lr=1e-2)
    for step in range(40):
        loss, _ = stage.train().compute(clips(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens, actions = stage.targets(clips(1000))
    assert teacher_forced(stage.eval().model, tokens, actions)[1].float().mean() > 0.99
    assert teacher_forced(stage.model, tokens, (actions + 1) % 3)[1].float().mean() < 0.01


class Echo(DynamicsModel):
    """Sees what is hidden from it if anything shows: answers with its own inputs."""

    def hidden(self, tokens, actions, thin=None):
        self.seen = tokens
        return F.one_hot(tokens, self.num_codes + 1).float()


def test_the_loss_counts_masked_tokens_only_and_shows_none_of_them():
    model = Echo(7, (2, 3), 3, width=8, num_blocks=1, num_heads=2)
    model.to_logits = CodeHead(8, 7, bias=False)
    with torch.no_grad():
        model.to_logits.weight.copy_(F.pad(20 * torch.eye(7), (0, 1)))  # says what it sees; nothing for the mask
    tokens, actions = torch.randint(7, (4, 5, 6)), torch.zeros(4, 4, dtype=torch.int64)
    options = {"mask_rate": [0.5, 1.0], "clean_prefix": 0, "corruption": 0}
    loss, metrics = dynamics_loss(model.eval(), tokens, actions, torch.arange(4), options)
    assert loss.item() == pytest.approx(math.log(7))  # evenly between all codes: it knew none
    assert metrics["masked_accuracy"] < 0.5
    masked = model.seen == 7
    assert masked[:, 1:].float().mean() > 0.4 and not masked[:, 0].any()
    assert torch.equal(model.seen[~masked], tokens[~masked])


def test_in_training_the_loss_of_a_batch_is_the_mean_of_those_of_its_parts(build, make_clips):
    stage = build("dynamics")
    batch = make_clips(6)
    tokens, actions = stage.targets(batch)

    def loss(clips, training=True):
        return dynamics_loss(stage.model.train(training), tokens[clips], actions[clips], batch["seed"][clips], options)

    options = {"mask_rate": [0.1, 0.9], "clean_prefix": 0.5, "corruption": 0}
    parts = [loss(slice(first, first + 2))[0] for first in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(parts).mean(), loss(slice(0, 6))[0])
    mean, metrics = loss(slice(0, 6), training=False)  # the same sum, over as many tokens as there are
    expected = 6 * expected_masked(4, tokens.shape[2], (0.1, 0.9), 0.5)
    torch.testing.assert_close(loss(slice(0, 6))[0], mean * metrics["num_masked"] / expected)


def sure(answer):
    """A dynamics model that is certain: each frame is what `answer` makes of the tokens before it."""
    model = Echo(7, (2, 3), 3, width=8, num_blocks=1, num_heads=2)
    model.to_logits = torch.nn.Identity()
    model.hidden_after = lambda tokens, actions, context, thin: 50 * F.one_hot(answer(context[:, :-1]), 7).float()
    return model


def test_own_draws_are_what_the_model_makes_of_the_context():
    tokens, actions, seeds = torch.randint(7, (4, 5, 6)), torch.zeros(4, 4, dtype=torch.int64), torch.arange(4)
    context = (tokens + 1) % 7
    drawn = draw_frames(sure(lambda before: (before + 2) % 7), tokens, actions, context, seeds)
    assert torch.equal(drawn[:, 1:], (context[:, :-1] + 2) % 7) and torch.equal(drawn[:, 0], tokens[:, 0])


def test_own_draws_follow_the_probabilities_and_are_those_of_the_sample():
    model = sure(lambda before: before)
    model.hidden_after = lambda tokens, actions, context, thin: torch.tensor([0.7, 0.2, 0.1]).log().expand(*shape, 3)
    tokens, actions, shape = torch.zeros(50, 5, 20, dtype=torch.int64), torch.zeros(50, 4), (50, 4, 20)
    drawn = draw_frames(model, tokens, actions, tokens, torch.arange(50))
    shares = torch.bincount(drawn[:, 1:].flatten(), minlength=3) / drawn[:, 1:].numel()
    assert (shares - torch.tensor([0.7, 0.2, 0.1])).abs().max() < 0.03
    order = torch.randperm(50)
    assert torch.equal(draw_frames(model, tokens, actions, tokens, order), drawn[order])


def test_own_draws_replace_tokens_of_the_context_alone_and_not_from_the_start():
    """The model sees its draws before a frame, and its target, mask and first frame are the true ones."""
    tokens, actions, seeds = torch.randint(6, (8, 5, 6)), torch.zeros(8, 4, dtype=torch.int64), torch.arange(8)
    model = sure(lambda before: torch.full_like(before, 6))  # a code that the clips do not have
    seen = []

    def score(inputs, actions, mask, target, context, thin, distance_weight):
        seen.append((inputs, mask, context))
        assert torch.equal(target, tokens)
        return torch.zeros(int(mask.sum())), torch.ones(int(mask.sum()))

    model.score = score
    options = {"context": "clean", "mask_rate": [0.5, 1.0], "whole_frames": 0.3, "corruption": 0}
    options |= {"own_draws": 1.0, "own_draws_from": 0.5}
    for progress in (0.49, 0.5):
        dynamics_loss(model.train(), tokens, actions, seeds, options, progress)
    dynamics_loss(model.eval(), tokens, actions, seeds, options, 1.0)
    (before, mask, context), (inputs, same, own), (_, _, validation) = seen
    assert torch.equal(context, tokens) and torch.equal(validation, tokens)
    assert torch.equal(inputs, before) and torch.equal(mask, same)
    assert torch.equal(own[own != 6], tokens[own != 6])
    share = (own == 6).float().mean((1, 2))
    assert (own[:, 0] != 6).all() and 0.1 < share.mean() < 0.7 and share.std() > 0.05


def test_changed_tokens_count_as_often_as_the_weight_says():
    """By the gradient of nats that are all the same: a changed token has 1 + weight times that of another."""
    model = sure(lambda before: before)
    tokens, actions = torch.randint(2, (8, 5, 6)), torch.zeros(8, 4, dtype=torch.int64)
    found = {}

    def score(inputs, actions, mask, target, context, thin, distance_weight):
        found["mask"], found["nats"] = mask, torch.ones(int(mask.sum()), requires_grad=True)
        return found["nats"], torch.ones(int(mask.sum()))

    model.score = score
    options = {"mask_rate": [0.5, 1.0], "clean_prefix": 0, "corruption": 0, "change_weight": 3.0}
    loss, _ = dynamics_loss(model.train(), tokens, actions, torch.arange(8), options)
    loss.backward()
    changed = torch.cat([torch.zeros(8, 1, 6), tokens[:, 1:] != tokens[:, :-1]], 1)[found["mask"]].bool()
    gradient = found["nats"].grad
    assert 0 < changed.sum() < len(changed)
    torch.testing.assert_close(gradient, gradient[~changed][0] * (1 + 3 * changed))
    validation, _ = dynamics_loss(model.eval(), tokens, actions, torch.arange(8), options)
    assert validation == 1  # nothing but the mean


def test_distance_counts_in_training_alone(build):
    model = DynamicsModel(12, (2, 3), 3, 8, 1, 2, levels=[4, 3])
    tokens, actions = torch.randint(12, (4, 5, 6)), torch.zeros(4, 4, dtype=torch.int64)
    options = {"mask_rate": [0.5, 1.0], "clean_prefix": 0, "corruption": 0}
    far = options | {"distance_weight": 3.0}
    for training in (True, False):
        given = (model.train(training), tokens, actions, torch.arange(4))
        plain, more = (dynamics_loss(*given, these)[0] for these in (options, far))
        assert (more > plain + 0.5) if training else more == plain


def test_distance_wants_codes_with_digits(build):
    with pytest.raises(UserError, match="stage.distance_weight=1.*model.tokenizer.quantizer=fsq"):
        build("dynamics", "stage.distance_weight=1")  # of a tokenizer with a codebook of vectors


def test_own_draws_want_a_clean_context(build):
    with pytest.raises(UserError, match="stage.own_draws=0.5.*recipe.dynamics.context=clean"):
        build("dynamics", "stage.own_draws=0.5")


def test_temporally_teacher_forced_accuracy_asks_for_the_last_frame_alone():
    model = Echo(7, (2, 3), 3, width=8, num_blocks=1, num_heads=2)
    tokens, actions = torch.randint(7, (4, 5, 6)), torch.zeros(4, 4, dtype=torch.int64)
    teacher_forced(model, tokens, actions)
    assert (model.seen[:, -1] == 7).all()
    assert torch.equal(model.seen[:, :-1], tokens[:, :-1])


def save(stage, path):
    torch.save({"state_dict": stage.state_dict(), "hyper_parameters": {"config": stage.config}, "global_step": 1}, path)


@pytest.fixture
def parts(build, tmp_path):
    """Checkpoints of a tokenizer and a latent action model, and the overrides that name them."""
    for name in ("tokenizer", "lam"):
        save(build(name), tmp_path / f"{name}.ckpt")
    return tmp_path, [f"{name}_ckpt={tmp_path}/{name}.ckpt" for name in ("tokenizer", "lam")]


def test_earlier_stages_are_loaded_frozen_and_stay_outside(configure, make_clips, parts):
    stage = build_stage(configure("dynamics", *parts[1]))
    stage.load_dependencies()
    assert stage.fingerprints == {part: fingerprint(module) for part, module in stage.frozen.items()}
    assert set(stage.fingerprints) == {"tokenizer", "lam"}
    checkpoint = {}
    stage.on_save_checkpoint(checkpoint)
    assert checkpoint["fingerprints"] == stage.fingerprints
    assert not any("frozen" in name for name in stage.state_dict())
    stage.train()
    loss, _ = stage.compute(make_clips())
    loss.backward()
    for module in stage.frozen.values():
        assert not module.training
        assert all(not value.requires_grad and value.grad is None for value in module.parameters())

    alone = build_stage(configure("dynamics", *parts[1], "stage.actions=environment", "lam_ckpt=nowhere.ckpt"))
    alone.load_dependencies()
    assert set(alone.frozen) == {"tokenizer"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["lam_ckpt=no/such.ckpt"], "needs a trained lam.*no/such.ckpt.*stage=lam name=pong"),
        (["tokenizer_ckpt={folder}/lam.ckpt"], "holds a LatentActionModel, not a VideoTokenizer"),
        (["data.image_size=[16,20]"], r"frames of \[16, 16\].*data.image_size=\[16, 20\]"),
        (["model.tokenizer.patch_size=8"], "64 codes and 16 tokens.*64 and 4"),
        (["model.dynamics.num_actions=5"], "3 actions and the dynamics 5.*model.dynamics.num_actions=3"),
    ],
)
def test_earlier_stages_that_do_not_fit_are_one_line(configure, parts, overrides, words):
    overrides = [text.format(folder=parts[0]) for text in overrides]
    stage = build_stage(configure("dynamics", *parts[1], *overrides))
    with pytest.raises(UserError, match=words) as error:
        stage.load_dependencies()
    assert "\n" not in str(error.value)


def test_the_command_of_a_missing_stage_is_of_the_same_world(configure, parts, monkeypatch):
    given = ["stage=dynamics", "data=episodes", "data.root=my table.h5", "data.batch_size=4", "trainer.max_steps=9"]
    monkeypatch.setattr("sys.argv", ["train", *given])
    stage = build_stage(configure("dynamics", *parts[1], "lam_ckpt=no/such.ckpt"))
    with pytest.raises(UserError) as error:
        stage.load_dependencies()
    assert "stage=lam data=episodes 'data.root=my table.h5' name=pong`" in str(error.value)


def test_data_without_the_actions_that_are_asked_for(build):
    with pytest.raises(UserError, match="3 true actions and the model takes 5: give model.dynamics.num_actions=3"):
        build("dynamics", "stage.actions=environment", "model.dynamics.num_actions=5")
