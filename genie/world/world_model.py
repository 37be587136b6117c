"""Genie world model: a tokenizer and a dynamics that generate one frame per action after a prompt.

Dimension letters: `B` worlds, `T` frames, `C H W` channels and pixels, `S` tokens of one frame, `A` actions, `L` latent
width, `h w` the grid of the tokens, `F` the shape of features.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from einops import rearrange
from gymnasium import spaces
from torch import Tensor

from genie.common.errors import UserError
from genie.common.random import row_seeds
from genie.common.shipped import located
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

FEATURE_FRAMES = 4  # one frame shows no velocity, two no acceleration


def load_reward(run: Path, world: str) -> RewardModel | None:
    """The reward model of `run` that was trained on the world of the fingerprint `world`; None where there is none. One
    that does not fit is reported on stderr and left out: the world can be played without."""
    path = stage_file(run, "reward")
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
    return cast(RewardModel, trained.model)


@dataclass(frozen=True)
class GenieStep(protocol.Step):
    """Result of one step: `observation` is the frame [B, C, H, W] in [0, 1], with its `tokens` int64 [B, S] and their
    `passes` int64 [B] of the dynamics. Without a reward model `reward` is 0 and `continues` 1."""

    tokens: Tensor
    passes: Tensor


class WorldModel:
    """A `World` of frames from a tokenizer and a dynamics.

    Args:
        tokenizer, dynamics, lam: trained modules; `lam`, only needed to infer actions, may be None.
        window: T, frames that the dynamics was trained on: it sees at most T-1 frames before the next.
        fps: frames per second of the data.
        sampler: how tokens are drawn; may be replaced at any time.
        cached: keep the keys and values of past frames. False runs the whole window in every pass, with the same
            frames up to rounding, for comparison.
        keep: frames that stay visible when the window is full, 1 … T-1; T/2 where None. A full window restarts with
            them, so that the model always sees a clip as in training: T-1 keeps most context but runs T-1 frames for
            each new one.
        reward_model: predicts rewards and ends from `features`; None: rewards are 0 without ends.
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
        """The world of a run folder (`outputs/<name>`), from its checkpoints alone.

        Args:
            run: folder that holds `tokenizer/` and `dynamics/` (or `cotrain/`).
            dynamics: the stage to use where there are both; `dynamics` by default.

        The tokenizer and the latent action model are those that the dynamics was trained on: the last or the best
        checkpoint in the run folder, or the file of `tokenizer_ckpt` or `lam_ckpt`. The reward model is that of the
        folder, if it fits (`load_reward`).

        Raises UserError where the dynamics or its tokenizer is missing, damaged, or was retrained since.
        """
        world = cls(**load_parts(located(run), dynamics))
        world.reward_model = load_reward(located(run), world.fingerprint())
        return world

    def fingerprint(self) -> str:
        """Of tokenizer and dynamics: the latent action model has no effect on imagined frames."""
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
        """(4 · L, h, w)."""
        return FEATURE_FRAMES * self.tokenizer.quantizer.width, *self.tokenizer.patches.grid

    @property
    def num_context(self) -> int:
        """T-1."""
        return self.window - 1

    @property
    def knows_rewards(self) -> bool:
        return self.reward_model is not None

    @property
    def knows_ends(self) -> bool:
        """Whether the reward model's data recorded ends."""
        return self.reward_model is not None and bool(self.reward_model.knows_ends)

    @property
    def knows_uncertainty(self) -> bool:
        return True

    @property
    def reward_kind(self) -> str | None:
        return None if self.reward_model is None else self.reward_model.kind

    @property
    def num_actions(self) -> int:
        """A."""
        return self.dynamics.num_actions

    @property
    def takes_environment_actions(self) -> bool:
        return self.config.get("stage", {}).get("actions") == "environment"

    def prompt_actions(self, recorded: Tensor | None) -> Tensor | None:
        """Actions [T-1] between a prompt's frames for `reset`, from the recorded ones int64 [T]; None without any or in
        a world of latent actions."""
        return recorded[:-1] if self.takes_environment_actions and recorded is not None else None

    @property
    def image_size(self) -> tuple[int, int]:
        """H and W of a frame in pixels."""
        return self.tokenizer.patches.height, self.tokenizer.patches.width

    @property
    def device(self) -> torch.device:
        return next(self.dynamics.parameters()).device

    def to(self, device: torch.device | str) -> "WorldModel":
        """Moves all models in place and returns the world."""
        for module in (self.tokenizer, self.dynamics, self.lam, self.reward_model):
            if module is not None:
                module.to(device)
        return self

    @torch.no_grad()
    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> WorldState:
        """The state after prompt frames [B, T0, C, H, W] in [0, 1], T0 ≥ 1, of which the last T-1 are used. `actions`
        int64 [B, T0-1] between the frames are inferred by the latent action model where they are not given; without one
        they are 0. `seed` decides all later draws: one number, from which each row derives its own, or int64 [B]."""
        keep = self.num_context
        if actions is not None:
            actions = actions[:, max(0, actions.shape[1] - keep + 1) :]
        frames = observations[:, -keep:]
        batch, count = frames.shape[:2]
        if actions is None and count > 1 and self.lam is not None:
            actions = self.lam.encode(frames)
        if actions is None:
            actions = torch.zeros(batch, count - 1, dtype=torch.int64, device=frames.device)
        encoder = self._past(self.tokenizer.encoder, batch)
        tokens = self.tokenizer.encode(frames, encoder.span(count, frames.device))
        seeds = row_seeds(seed, batch, frames.device)
        pasts = self._past(self.dynamics.transformer, batch), self._past(self.tokenizer.decoder, batch)
        observed = Observed(frames, encoder.appended(count))
        return WorldState(tokens, actions, (count,) * batch, seeds, torch.zeros_like(seeds), *pasts, observed)

    @torch.no_grad()
    def observe(self, state: WorldState, observation: Tensor, actions: Tensor) -> WorldState:
        """The state after a true frame [B, C, H, W] in [0, 1] that `actions` int64 [B] led to, for agents in the real
        environment; ValueError for a state with imagined frames."""
        if state.observed is None:
            raise ValueError("this state has imagined frames: observe from the state before them")
        self._check(actions)
        state = state.slid(self.window, self.keep)
        seen, device = state.observed, observation.device
        assert seen is not None

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
        """The next frame under `actions` int64 [B] in [0, A), as a function of state and actions alone; without
        `decode` its tokens alone."""
        self._check(actions)
        state = state.slid(self.window, self.keep)
        if self.cached:
            tokens, passes, entropy, dynamics = next_tokens(self.dynamics, self.sampler, state, actions)
            state = replace(state, dynamics=dynamics)
        else:
            tokens, passes, entropy = next_tokens_uncached(self.dynamics, self.sampler, state, actions)
        state = replace(state.appended(tokens, actions), ages=state.ages + 1, observed=None)
        frame = None
        if decode:
            frame, decoder = self._decode(state)
            state = replace(state, decoder=decoder)
        reward = torch.zeros(len(actions), device=actions.device)
        continues = torch.ones_like(reward)
        if self.reward_model is not None:
            judged = self.reward_model(self.features(state))
            reward, continues = judged.reward, judged.continues
        return state, GenieStep(reward, continues, frame, tokens, passes, uncertainty=entropy)

    @torch.no_grad()
    def decode(self, state: WorldState) -> Tensor:
        """The newest frame [B, C, H, W] in [0, 1], decoded from its tokens."""
        return self._decode(state)[0]

    @torch.no_grad()
    def features(self, state: WorldState) -> Tensor:
        """The quantised latents of the newest 4 frames as a map [B, 4 · L, h, w], the oldest first and repeated where
        fewer are visible."""
        ends = torch.tensor(state.lengths, device=state.tokens.device)
        return self._latent_maps(state.tokens, ends[:, None] - 1)[:, 0]

    @torch.no_grad()
    def trace(self, observations: Tensor, actions: Tensor | None = None) -> Tensor:
        """Features [B, T, 4 · L, h, w] after each of any number of true frames [B, T, C, H, W]; actions are ignored.
        Each frame beyond T-1 of the window has a window of its own."""
        length = self.num_context
        tokens = self.tokenizer.encode(observations[:, :length])
        times = torch.arange(tokens.shape[1], device=tokens.device)
        maps = [self._latent_maps(tokens, times.expand(len(tokens), -1))]
        for end in range(length + 1, observations.shape[1] + 1):
            tokens = self.tokenizer.encode(observations[:, end - length : end])
            maps.append(self._latent_maps(tokens, times[-1:].expand(len(tokens), -1)))
        return torch.cat(maps, dim=1)

    def _latent_maps(self, tokens: Tensor, times: Tensor) -> Tensor:
        """[B, n, 4 · L, h, w] of the frames `times` int64 [B, n] of tokens [B, T, S], and of those before them."""
        back = torch.arange(FEATURE_FRAMES - 1, -1, -1, device=tokens.device)
        recent = (times[..., None] - back).clamp_min(0)  # [B, n, 4]
        rows = torch.arange(len(tokens), device=tokens.device)[:, None, None]
        latents = self.tokenizer.quantizer.lookup(tokens[rows, recent]).float()
        return rearrange(latents, "b n f (h w) l -> b n (f l) h w", h=self.tokenizer.patches.grid[0])

    @torch.no_grad()
    def judge(self, before: WorldState, actions: Tensor, after: WorldState) -> Judged:
        """Predictions of the reward model from the features of `after`."""
        assert self.reward_model is not None
        return self.reward_model(self.features(after))

    def _decode(self, state: WorldState) -> tuple[Tensor, Past]:
        if not self.cached:
            return newest_frame_uncached(self.tokenizer, state), state.decoder
        return newest_frame(self.tokenizer, state)

    @torch.no_grad()
    def warmed(self, state: WorldState) -> WorldState:
        """The same state with its frames run by the dynamics, which forks then copy."""
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

    def steps(
        self, frames: Tensor, actions: Tensor, seed: int | Tensor = 0, prompt_actions: Tensor | None = None
    ) -> Iterator[GenieStep]:
        """One after the other the steps of `actions` int64 [B, n] after prompt `frames` [B, T0, …]."""
        state = self.reset(frames, prompt_actions, seed)
        for action in actions.unbind(1):
            state, step = self.step(state, action)
            yield step
