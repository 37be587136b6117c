"""A trained world, ready to be stepped: prompt frames in, one frame out for each action.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels, `S` tokens of one frame, `A` actions.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from genie.checkpoints import fingerprint, load_stage
from genie.errors import UserError
from genie.models import DynamicsModel, LatentActionModel, VideoTokenizer
from genie.stages import Stage
from genie.world.sampler import MaskGITSampler


@dataclass(frozen=True)
class WorldState:
    """What a world remembers: the last frames' tokens int64 [B, t, S] and the actions int64 [B, t-1] between them.

    A value: stepping makes a new one, so branches share nothing that changes.
    """

    tokens: Tensor
    actions: Tensor

    def select(self, index: Tensor) -> "WorldState":
        """The state of the batch entries `index` int64 [B'], which may repeat: how a state is forked."""
        return WorldState(self.tokens[index], self.actions[index])


@dataclass(frozen=True)
class Step:
    """One step's result: `frame` [B, C, H, W] in [0, 1], `tokens` int64 [B, S]; `reward` float [B] and `terminal`
    bool [B] are 0 and False for a world without a reward model."""

    frame: Tensor
    tokens: Tensor
    reward: Tensor
    terminal: Tensor


class WorldModel:
    """Tokenizer and dynamics at work. The latent action model is not needed to play, only to infer actions.

    Args:
        tokenizer, dynamics, lam: trained modules; `lam` may be None.
        window: T, frames that the dynamics was trained on: it sees the last T-1 frames when it makes the next.
        fps: frames per second of the data.
        sampler: how tokens are drawn; may be replaced at any time.
    """

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        dynamics: DynamicsModel,
        lam: LatentActionModel | None = None,
        window: int = 16,
        fps: float = 10.0,
        sampler: MaskGITSampler | None = None,
        config: dict | None = None,
    ) -> None:
        self.tokenizer, self.dynamics, self.lam = tokenizer, dynamics, lam
        self.window, self.fps, self.config = window, fps, config or {}
        self.sampler = sampler or MaskGITSampler()

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
        run = Path(run)
        stages = [dynamics] if dynamics else ["dynamics", "cotrain"]
        paths = [run / stage / "checkpoints" / "last.ckpt" for stage in stages]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise UserError(
                f"{run} holds no trained world (no {paths[0]}): run `python -m genie.train stage=dynamics` first"
            )
        stage = load_stage(path)
        tokenizer = _trained_with(stage, run, "tokenizer")
        lam = getattr(stage, "lam", None)
        if lam is None and stage.options["actions"] == "latent":
            try:
                lam = _trained_with(stage, run, "lam")
            except UserError:  # it names actions of given videos; the world plays without
                lam = None
        config = stage.config
        return cls(
            tokenizer, stage.model, lam, window=config["data"]["num_frames"], fps=float(stage.fps),
            sampler=MaskGITSampler(**config.get("sampler", {})), config=config,
        )  # fmt: skip

    @property
    def num_actions(self) -> int:
        """A, the actions that `step` takes."""
        return self.dynamics.num_actions

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
    def reset(self, frames: Tensor, actions: Tensor | None = None) -> WorldState:
        """Begin from prompt frames [B, T0, C, H, W] in [0, 1], T0 ≥ 1.

        `actions` int64 [B, T0-1] between the prompt's frames are inferred by the latent action model where they are
        not given; without one they are 0. Of a prompt longer than the window only the end counts.
        """
        keep = self.window - 1
        if actions is not None:
            actions = actions[:, max(0, actions.shape[1] - keep + 1) :]
        frames = frames[:, -keep:]  # no more than what the models were trained on
        if actions is None and frames.shape[1] > 1 and self.lam is not None:
            actions = self.lam.encode(frames)
        if actions is None:
            actions = torch.zeros(frames.shape[0], frames.shape[1] - 1, dtype=torch.int64, device=frames.device)
        return WorldState(self.tokenizer.encode(frames), actions)

    @torch.no_grad()
    def step(
        self, state: WorldState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[WorldState, Step]:
        """The next frame under `actions` int64 [B] in [0, A); randomness from `generator`."""
        if actions.min() < 0 or actions.max() >= self.num_actions:
            raise UserError(
                f"action {int(actions.max() if actions.min() >= 0 else actions.min())} is not one of this world's "
                f"{self.num_actions} (0 … {self.num_actions - 1})"
            )
        past, between = state.tokens, torch.cat([state.actions, actions[:, None]], dim=1)

        def logits_of(tokens: Tensor) -> Tensor:
            return self.dynamics.frame_logits(torch.cat([past, tokens[:, None]], dim=1), between)

        batch, _, size = past.shape
        new = self.sampler.sample(logits_of, batch, size, self.dynamics.mask_token, past.device, generator)
        tokens = torch.cat([past, new[:, None]], dim=1)
        frame = self.tokenizer.decode(tokens)[:, -1]
        keep = self.window - 1
        state = replace(state, tokens=tokens[:, -keep:], actions=between[:, max(0, between.shape[1] - keep + 1) :])
        return state, Step(frame, new, frame.new_zeros(batch), frame.new_zeros(batch, dtype=torch.bool))

    def rollout(
        self, frames: Tensor, actions: Tensor, generator: torch.Generator | None = None, prompt_actions=None
    ) -> Tensor:
        """Generated frames [B, n, C, H, W] in [0, 1] for `actions` int64 [B, n] after prompt `frames` [B, T0, …].

        This is the fully autoregressive setting: every frame is made from generated tokens.
        """
        state = self.reset(frames, prompt_actions)
        made = []
        for action in actions.unbind(1):
            state, step = self.step(state, action, generator)
            made.append(step.frame)
        return torch.stack(made, dim=1)


def _trained_with(stage: Stage, run: Path, part: str) -> nn.Module:
    """The tokenizer or latent action model (`part`) that a loaded dynamics `stage` was trained on, by fingerprint."""
    folder = run / part / "checkpoints"
    paths = [folder / "last.ckpt", folder / "best.ckpt", Path(stage.config[f"{part}_ckpt"])]
    found = [path for path in dict.fromkeys(paths) if path.is_file()]
    errors = []
    for path in found:
        try:
            model = load_stage(path).model
        except UserError as error:
            errors.append(error)
            continue
        if fingerprint(model) == stage.fingerprints.get(part):
            return model
    if errors:
        raise errors[0]
    if not found:
        raise UserError(f"there is no checkpoint {paths[0]}")
    raise UserError(
        f"the {part} was trained again after the dynamics of {run}: no state of it in {', '.join(map(str, found))} is "
        f"the one that its {'tokens' if part == 'tokenizer' else 'actions'} come from; train the dynamics again "
        "(overwrite=true)"
    )
