"""A trained world, ready to be stepped: prompt frames in, one frame out for each action.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels, `S` tokens of one frame, `A` actions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from genie.errors import UserError
from genie.models import DynamicsModel, LatentActionModel, VideoTokenizer
from genie.models.backbone import Backbone
from genie.models.cache import Past, Span
from genie.world.loading import load_parts
from genie.world.noise import FrameNoise, row_seeds
from genie.world.sampler import Predict, Sampler
from genie.world.state import Observed, WorldState


@dataclass(frozen=True)
class Step:
    """One step's result: `frame` [B, C, H, W] in [0, 1], `tokens` int64 [B, S], the `passes` int64 [B] of the
    dynamics that they took; `reward` float [B] and `terminal` bool [B] are 0 and False for a world without a reward
    model."""

    frame: Tensor
    tokens: Tensor
    passes: Tensor
    reward: Tensor
    terminal: Tensor


class WorldModel:
    """Tokenizer and dynamics at work. The latent action model is not needed to play, only to infer actions.

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
    ) -> None:
        self.tokenizer, self.dynamics, self.lam = tokenizer, dynamics, lam
        self.window, self.fps, self.config = window, fps, config or {}
        self.sampler, self.cached = sampler or Sampler(), cached
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
        state in the run folder, or the file that `tokenizer_ckpt` or `lam_ckpt` named then.

        Raises UserError where the dynamics or its tokenizer is missing or damaged, or was trained again since.
        """
        return cls(**load_parts(Path(run), dynamics))

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
        for module in (self.tokenizer, self.dynamics, self.lam):
            if module is not None:
                module.to(device)
        return self

    @torch.no_grad()
    def reset(self, frames: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> WorldState:
        """Begin from prompt frames [B, T0, C, H, W] in [0, 1], T0 ≥ 1.

        `actions` int64 [B, T0-1] between the prompt's frames are inferred by the latent action model where they are
        not given; without one they are 0. Of a prompt longer than the window only the end counts. `seed` decides all
        that will be drawn: one number, from which each row has its own, or int64 [B].
        """
        keep = self.window - 1
        if actions is not None:
            actions = actions[:, max(0, actions.shape[1] - keep + 1) :]
        frames = frames[:, -keep:]  # no more than what the models were trained on
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
    def observe(self, state: WorldState, frames: Tensor, actions: Tensor) -> WorldState:
        """The state after a true frame [B, C, H, W] in [0, 1] that `actions` int64 [B] led to.

        For an agent that acts in the real environment and imagines from what it saw. Raises ValueError for a state
        that has imagined frames: observe from the one that was left to imagine.
        """
        if state.observed is None:
            raise ValueError("this state has imagined frames: observe from the state before them")
        self._check(actions)
        state = state.slid(self.window, self.keep)
        seen, device = state.observed, frames.device

        def encode(rows: list[int] | slice, start: int, stop: int, span: Span) -> None:
            self.tokenizer.encode(seen.frames[rows, start:stop], span)

        past = seen.past.caught_up(state.lengths, encode, device)
        tokens = self.tokenizer.encode(frames[:, None], past.span(1, device))[:, 0]
        rows, ends = torch.arange(len(state), device=device), torch.tensor(state.lengths, device=device)
        more = torch.cat([seen.frames, torch.zeros_like(frames[:, None])], dim=1)
        more[rows, ends] = frames
        return replace(state.appended(tokens, actions), observed=Observed(more, past.appended(1)))

    @torch.no_grad()
    def step(self, state: WorldState, actions: Tensor) -> tuple[WorldState, Step]:
        """The next frame under `actions` int64 [B] in [0, A): a function of the state and the actions alone."""
        self._check(actions)
        state = state.slid(self.window, self.keep)
        if self.cached:
            tokens, passes, dynamics = self._imagine(state, actions)
            frame, decoder = self._decode(state, tokens)
            state = replace(state, dynamics=dynamics, decoder=decoder)
        else:
            tokens, passes, frame = self._imagine_uncached(state, actions)
        batch = len(state)
        state = replace(state.appended(tokens, actions), ages=state.ages + 1, observed=None)
        terminal = frame.new_zeros(batch, dtype=torch.bool)
        return state, Step(frame, tokens, passes, frame.new_zeros(batch), terminal)

    def _imagine(self, state: WorldState, actions: Tensor) -> tuple[Tensor, Tensor, Past]:
        """tokens [B, S] of the next frame, the passes [B] that they took, and the past with the frame before it."""
        incoming, device = F.pad(state.actions, (1, 0)), actions.device  # [B, n]

        def extend(rows: list[int] | slice, start: int, stop: int, span: Span) -> None:
            self.dynamics.extend(state.tokens[rows, start:stop], incoming[rows, start:stop], span)

        # All frames but the last one, which is run together with the first guess at the new one.
        past = state.dynamics.caught_up([length - 1 for length in state.lengths], extend, device)
        rows, last = torch.arange(len(state), device=device), torch.tensor(state.lengths, device=device) - 1
        before, led = state.tokens[rows, last], incoming[rows, last]
        span = None

        def predict(tokens: Tensor, asked: Tensor | None) -> Tensor:
            nonlocal past, span
            if span is None:
                both = torch.stack([before, tokens], dim=1), torch.stack([led, actions], dim=1)
                hidden = self.dynamics.extend(*both, past.span(2, device))
                past = past.appended(1)
                span = past.span(1, device)
            else:
                hidden = self.dynamics.extend(tokens[:, None], actions[:, None], span)
            return self._logits(hidden[:, -1], asked)

        return (*self._sample(state, predict), past)

    def _decode(self, state: WorldState, tokens: Tensor) -> tuple[Tensor, Past]:
        """The frame [B, C, H, W] of `tokens` [B, S] behind those of the state, and the decoder's past with it."""

        def decode(rows: list[int] | slice, start: int, stop: int, span: Span) -> None:
            self.tokenizer.decode(state.tokens[rows, start:stop], span)

        past = state.decoder.caught_up(state.lengths, decode, tokens.device)
        frame = self.tokenizer.decode(tokens[:, None], past.span(1, tokens.device))[:, 0]
        return frame, past.appended(1)

    def _imagine_uncached(self, state: WorldState, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens, passes and frame, from the whole window in every pass."""
        rows, ends = torch.arange(len(state)), torch.tensor(state.lengths)

        def predict(tokens: Tensor, asked: Tensor | None) -> Tensor:
            clip = state.appended(tokens, actions)
            return self._logits(self.dynamics.hidden(clip.tokens, clip.actions)[rows, ends], asked)

        tokens, passes = self._sample(state, predict)
        frames = self.tokenizer.decode(state.appended(tokens, actions).tokens)
        return tokens, passes, frames[rows, ends]

    def _logits(self, hidden: Tensor, asked: Tensor | None) -> Tensor:
        """[B, U, K] at the positions `asked` [B, U] of hidden states [B, S, D]."""
        if asked is not None:
            hidden = hidden.gather(1, asked[..., None].expand(-1, -1, hidden.shape[-1]))
        return self.dynamics.logits(hidden)

    def _sample(self, state: WorldState, predict: Predict) -> tuple[Tensor, Tensor]:
        noise = FrameNoise(state.seeds, state.ages)
        return self.sampler.sample(predict, noise, self.dynamics.num_tokens, self.dynamics.mask_token)

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
        return torch.stack([step.frame for step in self.steps(frames, actions, seed, prompt_actions)], dim=1)

    def steps(
        self, frames: Tensor, actions: Tensor, seed: int | Tensor = 0, prompt_actions: Tensor | None = None
    ) -> Iterator[Step]:
        """The steps of a `rollout`, one after the other: frames with their tokens and passes."""
        state = self.reset(frames, prompt_actions, seed)
        for action in actions.unbind(1):
            state, step = self.step(state, action)
            yield step
