"""Genie world model: prompt frames in, one frame out for each action.

What rewards and policies read of a Genie world: the quantised latents of its newest frames, as a map.

The rewards of a Genie world: the model of a run folder, where it has one that belongs to its world, and what it
says.

A trained world, ready to be stepped: prompt frames in, one frame out for each action.

Dimension letters: `B` worlds, `T` frames, `S` tokens of one frame, `L` latent width, `h w` the grid of the tokens.

Dimension letters: `B` worlds, `F` the shape of features.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels, `S` tokens of one frame, `A` actions.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from gymnasium import spaces
from torch import Tensor

from genie.common.errors import UserError
from genie.common.random import row_seeds
from genie.models import DynamicsModel, LatentActionModel, VideoTokenizer
from genie.models.heads import Judged, RewardModel
from genie.models.kv_cache import Past, Span
from genie.models.st_transformer import Backbone
from genie.runs.loading import fingerprint, load_model, stage_file, world_fingerprint
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world import protocol
from genie.world.loading import load_parts
from genie.world.next_frame import newest_frame, newest_frame_uncached, next_tokens, next_tokens_uncached, past_before
from genie.world.sampler import Sampler
from genie.world.state import Observed, WorldState

FEATURE_FRAMES = 4  # a frame does not tell where things are going, and two of them not whether they turn


def feature_shape(tokenizer: VideoTokenizer) -> tuple[int, ...]:
    """(4 · L, h, w)."""
    return FEATURE_FRAMES * tokenizer.quantizer.width, *tokenizer.patches.grid


def state_features(tokenizer: VideoTokenizer, state: WorldState) -> Tensor:
    """[B, 4 · L, h, w] of the newest 4 frames of a state, the oldest first; where fewer are in sight, the oldest of
    them stands for those before it."""
    ends = torch.tensor(state.lengths, device=state.tokens.device)
    return latent_maps(tokenizer, state.tokens, ends[:, None] - 1)[:, 0]


def traced_features(tokenizer: VideoTokenizer, frames: Tensor, window: int) -> Tensor:
    """[B, T, 4 · L, h, w] after each of frames [B, T, C, H, W], of any number; `window`: how many of them are encoded
    together at most. What is beyond it is encoded once for each frame that follows."""
    tokens = tokenizer.encode(frames[:, :window])
    times = torch.arange(tokens.shape[1], device=tokens.device)
    maps = [latent_maps(tokenizer, tokens, times.expand(len(tokens), -1))]
    for end in range(window + 1, frames.shape[1] + 1):
        tokens = tokenizer.encode(frames[:, end - window : end])
        maps.append(latent_maps(tokenizer, tokens, times[-1:].expand(len(tokens), -1)))
    return torch.cat(maps, dim=1)


def latent_maps(tokenizer: VideoTokenizer, tokens: Tensor, times: Tensor) -> Tensor:
    """[B, n, 4 · L, h, w] of the frames `times` int64 [B, n] of tokens [B, T, S], and of those before them."""
    back = torch.arange(FEATURE_FRAMES - 1, -1, -1, device=tokens.device)
    recent = (times[..., None] - back).clamp_min(0)  # [B, n, 4]
    rows = torch.arange(len(tokens), device=tokens.device)[:, None, None]
    latents = tokenizer.quantizer.lookup(tokens[rows, recent]).float()
    height, width = tokenizer.patches.grid
    return rearrange(latents, "b n f (h w) l -> b n (f l) h w", h=height, w=width)


STAGE = "reward"


def load_reward(run: Path, world: str) -> RewardModel | None:
    """The reward model that was trained on the world of the fingerprint `world`; None where `run` has none.

    One that cannot be used does not keep a world from being played: a line on stderr says why it is left out.
    """
    path = stage_file(run, STAGE)
    if not is_checkpoint(path):
        return None
    try:
        trained = load_model(path)
    except UserError as error:
        print(f"{run}: without rewards ({error})", file=sys.stderr, flush=True)
        return None
    if trained.fingerprints.get("world") != world:
        way = "train it again with `python -m genie.train stage=reward`"
        print(f"{run}: without rewards: {path} was trained on another world than this one; {way}", file=sys.stderr)
        return None
    return trained.model


def outcome_of(model: RewardModel | None, features: Callable[[], Tensor], actions: Tensor) -> tuple[Tensor, Tensor]:
    """Reward and continuation float [B] of the step to the state of which `features` gives [B, *F]; without a model 0
    and 1. `actions` [B] led there: their number and their device count alone."""
    if model is None:
        return torch.zeros(len(actions), device=actions.device), torch.ones(len(actions), device=actions.device)
    judged = model(features())
    return judged.reward, judged.continues


@dataclass(frozen=True)
class GenieStep(protocol.Step):
    """One step's result: `observation` is the frame [B, C, H, W] in [0, 1]; its `tokens` int64 [B, S], and the `passes`
    int64 [B] of the dynamics that they took. Without a reward model `reward` is 0 and `continues` 1."""

    tokens: Tensor
    passes: Tensor


class WorldModel:
    """Tokenizer and dynamics at work, a `World` of frames. The latent action model is not needed to play, only to infer
    actions.

    Args:
        tokenizer, dynamics, lam: trained modules; `lam` may be None.
        window: T, frames that the dynamics was trained on: it sees at most the last T-1 when it makes the next.
        fps: frames per second of the data.
        sampler: how tokens are drawn; may be replaced at any time.
        cached: keep the keys and values of past frames. False runs the whole window in every pass, which gives the
            same frames (but for rounding) and is there to be compared with.
        keep: frames that stay in sight when the window is full, 1 … T-1; T/2 where None. A full window begins anew
            with them, so what the model sees is always a clip as in training: T-1 shows it the most and runs T-1
            frames for each new one, fewer are cheaper.
        reward_model: predicts rewards and ends from `features`; None: they are 0, and there are none.
    """

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        dynamics: DynamicsModel,
        lam: LatentActionModel | None = None,
        window: int = 16,
        fps: float = 10.0,
        sampler: Sampler | None = None,
        config: dict | None = None,
        cached: bool = True,
        keep: int | None = None,
        reward_model: RewardModel | None = None,
    ) -> None:
        self.tokenizer, self.dynamics, self.lam = tokenizer, dynamics, lam
        self.window, self.fps, self.config = window, fps, config or {}
        self.sampler, self.cached, self.reward_model = sampler or Sampler(), cached, reward_model
        if window < 2:
            raise ValueError(f"window={window}: a frame follows from at least one other")
        self.keep = max(1, window // 2) if keep is None else keep
        if not 1 <= self.keep < window:
            raise ValueError(f"keep={keep} is not in 1 … window - 1 = {window - 1}")

    @classmethod
    def load(cls, run: str | Path, dynamics: str | None = None) -> "WorldModel":
        """The world of a run folder (`outputs/<name>`), rebuilt from its checkpoints alone.

        Args:
            run: folder that holds `tokenizer/` and `dynamics/` (or `cotrain/`).
            dynamics: which of the two to take where there are both; `dynamics` by default.

        The tokenizer and the latent action model are those that the dynamics was trained on: the last or the best
        state in the run folder, or the file that `tokenizer_ckpt` or `lam_ckpt` named then. The reward model is that of
        the folder, where there is one; one that does not fit is not taken, and a line on stderr says why.

        Raises UserError where the dynamics or its tokenizer is missing or damaged, or was trained again since.
        """
        world = cls(**load_parts(Path(run), dynamics))
        world.reward_model = load_reward(Path(run), world.fingerprint())
        return world

    def fingerprint(self) -> str:
        """Of tokenizer and dynamics: the latent action model names actions, and changes nothing that is imagined."""
        return world_fingerprint(fingerprint(self.tokenizer), fingerprint(self.dynamics))

    @property
    def action_space(self) -> spaces.Discrete:
        """0 … A-1."""
        return spaces.Discrete(self.num_actions)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(C, H, W) of a frame."""
        return self.tokenizer.patches.channels, *self.image_size

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """(4 · L, h, w): what `features` gives on the grid of the tokens."""
        return feature_shape(self.tokenizer)

    @property
    def num_context(self) -> int:
        """T-1, the frames that it sees at most."""
        return self.window - 1

    @property
    def knows_rewards(self) -> bool:
        """Whether it has a reward model."""
        return self.reward_model is not None

    @property
    def knows_ends(self) -> bool:
        """Whether the reward model's data said where ends are."""
        return self.reward_model is not None and bool(self.reward_model.knows_ends)

    @property
    def reward_kind(self) -> str | None:
        """That of the reward model."""
        return None if self.reward_model is None else self.reward_model.kind

    @property
    def num_actions(self) -> int:
        """A, the actions that `step` takes."""
        return self.dynamics.num_actions

    @property
    def takes_environment_actions(self) -> bool:
        """Whether the actions are those that were recorded, instead of latent ones."""
        return self.config.get("stage", {}).get("actions") == "environment"

    def prompt_actions(self, recorded: Tensor | None) -> Tensor | None:
        """What `reset` takes of the actions int64 [T] recorded with a prompt's frames: those between them, [T-1]; None
        where there are none, or where the world's own actions are latent."""
        return recorded[:-1] if self.takes_environment_actions and recorded is not None else None

    @property
    def image_size(self) -> tuple[int, int]:
        """H and W of a frame in pixels."""
        return self.tokenizer.patches.height, self.tokenizer.patches.width

    @property
    def device(self) -> torch.device:
        """Where the models are."""
        return next(self.dynamics.parameters()).device

    def to(self, device: torch.device | str) -> "WorldModel":
        """Move all models."""
        for module in (self.tokenizer, self.dynamics, self.lam, self.reward_model):
            if module is not None:
                module.to(device)
        return self

    @torch.no_grad()
    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> WorldState:
        """Begin from prompt frames [B, T0, C, H, W] in [0, 1], T0 ≥ 1.

        `actions` int64 [B, T0-1] between the prompt's frames are inferred by the latent action model where they are
        not given; without one they are 0. Of a prompt longer than the window only the end counts. `seed` decides all
        that will be drawn: one number, from which each row has its own, or int64 [B].
        """
        keep = self.num_context
        if actions is not None:
            actions = actions[:, max(0, actions.shape[1] - keep + 1) :]
        frames = observations[:, -keep:]  # no more than what the models were trained on
        batch, count = frames.shape[:2]
        if actions is None and count > 1 and self.lam is not None:
            actions = self.lam.encode(frames)
        if actions is None:
            actions = torch.zeros(batch, count - 1, dtype=torch.int64, device=frames.device)
        encoder = self._past(self.tokenizer.encoder, batch)
        tokens = self.tokenizer.encode(frames, encoder.span(count, frames.device))
        return WorldState(
            tokens,
            actions,
            (count,) * batch,
            row_seeds(seed, batch, frames.device),
            torch.zeros(batch, dtype=torch.int64, device=frames.device),
            self._past(self.dynamics.transformer, batch),
            self._past(self.tokenizer.decoder, batch),
            Observed(frames, encoder.appended(count)),
        )

    @torch.no_grad()
    def observe(self, state: WorldState, observation: Tensor, actions: Tensor) -> WorldState:
        """The state after a true frame [B, C, H, W] in [0, 1] that `actions` int64 [B] led to.

        For an agent that acts in the real environment and imagines from what it saw. Raises ValueError for a state
        that has imagined frames: observe from the one that was left to imagine.
        """
        if state.observed is None:
            raise ValueError("this state has imagined frames: observe from the state before them")
        self._check(actions)
        state = state.slid(self.window, self.keep)
        seen, device = state.observed, observation.device

        def encode(rows: list[int] | slice, start: int, stop: int, span: Span) -> None:
            self.tokenizer.encode(seen.frames[rows, start:stop], span)

        past = seen.past.caught_up(state.lengths, encode, device)
        tokens = self.tokenizer.encode(observation[:, None], past.span(1, device))[:, 0]
        rows, ends = torch.arange(len(state), device=device), torch.tensor(state.lengths, device=device)
        more = torch.cat([seen.frames, torch.zeros_like(observation[:, None])], dim=1)
        more[rows, ends] = observation
        return replace(state.appended(tokens, actions), observed=Observed(more, past.appended(1)))

    @torch.no_grad()
    def step(self, state: WorldState, actions: Tensor, decode: bool = True) -> tuple[WorldState, GenieStep]:
        """The next frame under `actions` int64 [B] in [0, A): a function of the state and the actions alone.

        `decode=False`: its tokens alone; the tokenizer's decoder is not run.
        """
        self._check(actions)
        state = state.slid(self.window, self.keep)
        if self.cached:
            tokens, passes, dynamics = next_tokens(self.dynamics, self.sampler, state, actions)
            state = replace(state, dynamics=dynamics)
        else:
            tokens, passes = next_tokens_uncached(self.dynamics, self.sampler, state, actions)
        state = replace(state.appended(tokens, actions), ages=state.ages + 1, observed=None)
        frame = None
        if decode:
            frame, decoder = self._decode(state)
            state = replace(state, decoder=decoder)
        reward, continues = outcome_of(self.reward_model, lambda: self.features(state), actions)
        return state, GenieStep(reward, continues, frame, tokens, passes)

    @torch.no_grad()
    def decode(self, state: WorldState) -> Tensor:
        """The newest frame [B, C, H, W] in [0, 1] as the tokenizer draws it: after `step`, the one that it gave."""
        return self._decode(state)[0]

    @torch.no_grad()
    def features(self, state: WorldState) -> Tensor:
        """The quantised latents of the newest 4 frames as a map [B, 4 · L, h, w], the oldest first; where fewer are in
        sight, the oldest of them stands for those before it."""
        return state_features(self.tokenizer, state)

    @torch.no_grad()
    def trace(self, observations: Tensor, actions: Tensor | None = None) -> Tensor:
        """The features [B, T, 4 · L, h, w] after each of true frames [B, T, C, H, W], of any number; actions play no
        part. What is beyond T-1 frames of the window is encoded once for each frame that follows."""
        return traced_features(self.tokenizer, observations, self.num_context)

    @torch.no_grad()
    def judge(self, before: WorldState, actions: Tensor, after: WorldState) -> Judged:
        """What the reward model says of the features of `after`: the rest plays no part."""
        return self.reward_model(self.features(after))

    def _decode(self, state: WorldState) -> tuple[Tensor, Past]:
        if not self.cached:
            return newest_frame_uncached(self.tokenizer, state), state.decoder
        return newest_frame(self.tokenizer, state)

    @torch.no_grad()
    def warmed(self, state: WorldState) -> WorldState:
        """The same state, its frames run by the dynamics: forks copy what they would otherwise each run again."""
        if not self.cached:
            return state
        state = state.slid(self.window, self.keep)
        return replace(state, dynamics=past_before(self.dynamics, state))

    def _past(self, backbone: Backbone, batch: int) -> Past:
        return Past.empty(backbone.num_caches, batch, self.window)

    def _check(self, actions: Tensor) -> None:
        if actions.min() < 0 or actions.max() >= self.num_actions:
            raise UserError(
                f"action {int(actions.max() if actions.min() >= 0 else actions.min())} is not one of this world's "
                f"{self.num_actions} (0 … {self.num_actions - 1})"
            )

    def rollout(
        self, frames: Tensor, actions: Tensor, seed: int | Tensor = 0, prompt_actions: Tensor | None = None
    ) -> Tensor:
        """Generated frames [B, n, C, H, W] in [0, 1] for `actions` int64 [B, n] after prompt `frames` [B, T0, …].

        This is the fully autoregressive setting: every frame is made from generated tokens.
        """
        return torch.stack([step.observation for step in self.steps(frames, actions, seed, prompt_actions)], dim=1)

    def steps(
        self, frames: Tensor, actions: Tensor, seed: int | Tensor = 0, prompt_actions: Tensor | None = None
    ) -> Iterator[GenieStep]:
        """The steps of a `rollout`, one after the other: frames with their tokens and passes."""
        state = self.reset(frames, prompt_actions, seed)
        for action in actions.unbind(1):
            state, step = self.step(state, action)
            yield step
