"""Dynamics model (stage 3, Genie §2.1): masked tokens from the past, the visible tokens and actions.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `K` codes.
"""

import time

import torch
import torch.nn.functional as F
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.metrics.metric_info import HIGHER, MetricInfo
from genie.metrics.token_accuracy import TokenAccuracy, showing
from genie.models import DynamicsModel
from genie.models.rssm import sample
from genie.models.st_transformer import Thin
from genie.stages.dependent_stage import DependentStage
from genie.stages.encoded import MOST_BYTES, Encoded, encode, know_unseen, pays
from genie.stages.encoded_cache import cache_file, read, write
from genie.stages.masking import (
    Masked,
    choose_places,
    expected_masked,
    expected_masked_after_clean,
    mask_after_clean,
    mask_tokens,
    own_noise,
    with_own_draws,
)

METRICS = (
    MetricInfo("{split:train|val}/masked_accuracy", "right tokens, of the masked ones", unit="%", better=HIGHER),
    MetricInfo("val/teacher_forced_accuracy", "right tokens of the last frame", "in one pass after the true past",
               unit="%", better=HIGHER),
)  # fmt: skip


class DynamicsStage(DependentStage):
    """Options: `actions` latent | environment, and those of `dynamics_loss`."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        if self.options.get("own_draws") and context_of(self.options) != "clean":
            raise UserError(
                f"stage.own_draws={self.options['own_draws']} replaces frames before the guessed one: give "
                "recipe.dynamics.context=clean, too"
            )
        if self.options.get("distance_weight") and self.model.code_places is None:
            raise UserError(
                f"stage.distance_weight={self.options['distance_weight']} goes by the digits of codes: give "
                "model.tokenizer.quantizer=fsq, or leave it out"
            )
        self.token_accuracy = TokenAccuracy()
        self.encoded: Encoded | None = None  # of the training clips
        self.validated: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}  # rows of a validation's batch: its targets

    @property
    def tokens_per_frame(self) -> int:
        return self.model.num_tokens

    def example_forward(self, clip: Tensor) -> None:
        tokens = torch.zeros(*clip.shape[:2], self.model.num_tokens, dtype=torch.int64)
        self.model.hidden(tokens, tokens[:, 1:, 0])

    @staticmethod
    def needs(config: dict) -> tuple[str, ...]:
        return ("tokenizer", "lam") if config["stage"]["actions"] == "latent" else ("tokenizer",)

    @staticmethod
    def learns_recorded_actions(config: dict) -> bool:
        return config["stage"].get("actions") == "environment"

    def set_data_info(self, info) -> None:
        super().set_data_info(info)
        if self.options["actions"] == "environment" and info.num_actions != self.model.num_actions:
            remedy = f"model.dynamics.num_actions={info.num_actions}" if info.num_actions else "stage.actions=latent"
            raise UserError(
                f"the data has {info.num_actions or 'no'} true actions and the model takes {self.model.num_actions}: "
                f"give {remedy}"
            )

    # -- tokens and actions ---------------------------------------------------------------------------------------

    def targets(self, batch: Clip) -> tuple[Tensor, Tensor]:
        """tokens int64 [B, T, S] and actions int64 [B, T-1] of a batch, of held-out clips once in a training."""
        trainer = self._trainer
        if trainer is not None and trainer.validating and trainer.state.fn == TrainerFn.FITTING and "row" in batch:
            rows = tuple(batch["row"].tolist())
            found = self.validated.get(rows) or self._encode(batch)
            if len(self.validated) * found[0].nbytes < MOST_BYTES:
                self.validated[rows] = found
            return found
        if not self.training or self.encoded is None:
            return self._encode(batch)
        known = self.encoded
        rows, length = batch["row"], batch["frames"].shape[1]
        tokens = known.tokens_of(rows, length)
        if self.options["actions"] != "latent":
            actions = batch["actions"][:, :-1]
        elif known.actions is None:
            actions = self.frozen["lam"].encode(self.frames(batch))
        else:
            actions = known.actions_of(rows, length)
        return tokens, known.with_unseen(actions, rows, batch["seed"])

    def _encode(self, batch: Clip) -> tuple[Tensor, Tensor]:
        frames, latent = self.frames(batch), self.options["actions"] == "latent"
        tokens = self.frozen["tokenizer"].encode(frames)
        return tokens, self.frozen["lam"].encode(frames) if latent else batch["actions"][:, :-1]

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.validated.clear()
        self.encode_once()

    def encode_once(self) -> None:
        """Encodes the frames of the training clips before the first step, where that pays (`genie.stages.encoded`)."""
        trainer, dataset = self.config["trainer"], getattr(self.trainer.datamodule, "train_dataset", None)
        tokenizer = self.frozen["tokenizer"]
        lam = self.frozen["lam"] if self.options["actions"] == "latent" else None
        clips = trainer["max_steps"] * trainer["accumulate"] * self.config["data"]["batch_size"]  # of this process
        wanted = self.options.get("encode_once", True) and dataset is not None  # None: batches of a loader
        if wanted and pays(dataset, tokenizer, clips):
            self.encoded = self._encoded(dataset, tokenizer, lam)
        if self.options.get("unseen_actions") is None:
            return
        if self.encoded is not None and (lam is None or self.encoded.actions is not None):
            self.encoded = know_unseen(self.encoded, dataset, lam, self.model.num_actions)
        elif self.trainer.is_global_zero:
            print("stage.unseen_actions is left out: here frames or actions are not encoded once (docs/scaling.md)")

    def _encoded(self, dataset, tokenizer, lam) -> Encoded | None:
        """The codes of all frames, from the cache, or made by the first process while the others wait."""
        trainer, first = self.trainer, self.trainer.is_global_zero
        path = cache_file(dataset, trainer.datamodule.root, [tokenizer, lam], str(trainer.precision), self.device)
        if not first and path is not None:
            trainer.strategy.barrier("encoded")
        started = time.perf_counter()
        encoded, how = None if path is None else read(path, dataset, self.device), "were encoded before"
        if encoded is None:
            with trainer.precision_plugin.forward_context():
                encoded, how = encode(dataset, tokenizer, lam, self.device), "are encoded once"
            if encoded is not None and first and path is not None:
                write(path, encoded)
        if first and path is not None:
            trainer.strategy.barrier("encoded")
        if first and encoded is not None:
            seconds = time.perf_counter() - started
            print(f"{len(encoded.tokens):,} frames {how} (stage.encode_once), in {seconds:.0f} s")
        return encoded

    # -- loss -----------------------------------------------------------------------------------------------------

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        tokens, actions = self.targets(batch)
        return self.dynamics_loss(tokens, actions, batch)

    def dynamics_loss(self, tokens: Tensor, actions: Tensor, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        """`dynamics_loss` of the model, in validation with the metrics that need no masks."""
        progress = min(1.0, self.global_step / self.config["trainer"]["max_steps"])
        loss, metrics = dynamics_loss(self.model, tokens, actions, batch["seed"], self.options, progress)
        if not self.training:
            self.weights = dict.fromkeys(("loss", "dynamics_loss", "masked_accuracy"), int(metrics.pop("num_masked")))
            nats, right = teacher_forced(self.model, tokens, actions)
            metrics["teacher_forced_accuracy"] = right.float().mean()
            metrics["teacher_forced_accuracy_copy_last"] = (tokens[:, -1] == tokens[:, -2]).float().mean()
            shown = showing(self.frozen["tokenizer"].patches, self.frames(batch)[:, -1:], self.background)[:, 0]
            self.token_accuracy.update(nats, right, tokens[:, -1], tokens[:, -2], shown)
        return loss, metrics

    def on_validation_epoch_end(self) -> None:
        found = self.token_accuracy.compute()
        # without changed_token_accuracy_copy_last: a copy never changes a token
        names = ("object_token_accuracy", "object_token_accuracy_copy_last", "changed_token_accuracy")
        self.log_validation({name: found[name] for name in names if name in found})
        self.token_accuracy.reset()


def context_of(options: dict) -> str:
    """The frames before a predicted one in training; "masked" in configurations from before there was a choice."""
    return options.get("context", "masked")


def dynamics_loss(
    model: DynamicsModel, tokens: Tensor, actions: Tensor, seeds: Tensor, options: dict, progress: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy (nats, fp32) on the masked tokens, and its accuracy.

    In training it is the sum over the masked tokens divided by their expected number in the batch: an unbiased estimate
    of the loss of a token, and with the same divisor for all ranks and accumulated batches their mean is that of their
    samples taken together. In validation it is the mean over the masked tokens, with their number `num_masked`.

    Options: `context`, "masked": the masks of `mask_tokens` fall on all frames, with `mask_rate`, `clean_prefix` and
    `corruption`; "clean": every frame is predicted after all frames before it, with those of `mask_after_clean`, and
    from the share `own_draws_from` of the run on (`progress`) with `own_draws` of `with_own_draws`. In training, only
    the share `places` of a frame's places is run (`choose_places`) until `places_until`, tokens that differ from those
    of the last frame count 1 + `change_weight` times, and `distance_weight` is that of `DynamicsModel.score`.
    """
    masked, expected = draw_masks(tokens, seeds, model.num_codes, options)
    thin = None
    count = max(1, round(options.get("places", 1.0) * model.num_tokens))
    if model.training and count < model.num_tokens and progress < options["places_until"]:
        thin = choose_places(tokens, seeds, count)
        tokens = thin.of(tokens)
        parts = (masked.inputs, masked.mask, masked.context)
        masked = Masked(*(None if part is None else thin.of(part) for part in parts))
    share = options.get("own_draws", 0.0)
    if share and model.training and masked.context is not None and progress >= options["own_draws_from"]:
        draws = draw_frames(model, tokens, actions, masked.context, seeds, thin)
        masked = with_own_draws(masked, draws, seeds, share)
    far = options.get("distance_weight", 0.0) if model.training else 0.0
    nats, right = model.score(masked.inputs, actions, masked.mask, tokens, masked.context, thin, far)
    metrics = {"masked_accuracy": right.float().mean()}
    if not model.training:
        return nats.mean(), metrics | {"num_masked": masked.mask.sum()}
    if thin is not None:
        nats = nats * thin.counts[:, None].expand_as(tokens)[masked.mask]
    if weight := options.get("change_weight", 0):
        changed = F.pad(tokens[:, 1:] != tokens[:, :-1], (0, 0, 1, 0))
        nats = nats * (1 + weight * changed[masked.mask])
    return nats.sum() / (len(tokens) * expected), metrics


def draw_masks(tokens: Tensor, seeds: Tensor, num_codes: int, options: dict) -> tuple[Masked, float]:
    """The masks of a batch of tokens int64 [B, T, S], and how many tokens they hide in a clip on average."""
    rates, corruption, shape = tuple(options["mask_rate"]), options["corruption"], tokens.shape[1:]
    if context_of(options) == "clean":
        whole = options["whole_frames"]
        masked = mask_after_clean(tokens, seeds, num_codes, rates, whole, corruption)
        return masked, expected_masked_after_clean(*shape, rates, whole)
    prefix = options["clean_prefix"]
    return mask_tokens(tokens, seeds, num_codes, rates, prefix, corruption), expected_masked(*shape, rates, prefix)


@torch.no_grad()
def draw_frames(
    model: DynamicsModel, tokens: Tensor, actions: Tensor, context: Tensor, seeds: Tensor, thin: Thin | None = None
) -> Tensor:
    """int64 [B, T, S]: every frame but the first as the model draws it in one pass after the frames of `context` before
    it, at temperature 1; a function of the samples' seeds."""
    hidden = torch.ones_like(tokens, dtype=torch.bool)
    hidden[:, 0] = False
    probabilities = model(tokens, actions, hidden, context, thin).softmax(-1)  # [B · (T-1) · S, K]
    noise = own_noise(seeds, *tokens.shape[1:]).to(tokens.device)[hidden]
    return tokens.masked_scatter(hidden, sample(probabilities, noise))


@torch.no_grad()
def teacher_forced(model: DynamicsModel, tokens: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Prediction of the last frame's tokens in one pass (a single sampling step) from the true frames before it: the
    cross-entropy in nats and whether the likeliest code is right, [B, S] each."""
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, -1] = True
    nats, right = model.score(tokens, actions, mask, tokens)
    return nats.view(tokens[:, -1].shape), right.view(tokens[:, -1].shape)
