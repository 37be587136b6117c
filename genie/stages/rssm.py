"""Recurrent state-space model (`simulator=rssm`) of frames, rewards and ends (Hafner et al. 2019-23).

Dimension letters: `B` batch, `T` frames, `n` imagined frames, `C H W` channels and pixels, `G` groups, `K` classes,
`F` features.
"""

import math
from collections.abc import Callable
from functools import cache

from torch import Tensor, nn

from data_modules.clips import Clip
from genie.metrics.psnr import HorizonPSNR, frame_psnr, update_frame_psnr
from genie.models.rssm import Beliefs, entropy, kl
from genie.stages.losses import pixel_loss
from genie.stages.simulator import SimulatorStage

POSTERIOR, PRIOR = 0, 1  # numbers of the draws
REFERENCES = ("", "copy_last", "background")


class RssmStage(SimulatorStage):
    """Further options in `simulator`: those of `pixel_loss`, as of the tokenizer, and `free_nats`."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.psnr = frame_psnr("psnr", "psnr_copy_last", "psnr_background")
        horizon = config["data"]["num_frames"] - self.prompt_length
        self.horizon_metrics = nn.ModuleList(HorizonPSNR(horizon) for _ in REFERENCES)

    @property
    def tokens_per_frame(self) -> int:
        return self.model.groups

    def start_from_background(self) -> None:
        self.model.start_from(self.background)

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        frames, model = self.frames(batch), self.model
        incoming = model.incoming(batch["actions"][:, :-1])
        noise = self.noise(batch, POSTERIOR, model.groups)
        beliefs = model.filter(model.encode(frames), incoming, noise if self.training else None)
        loss, metrics = self.objective(self.terms(batch, frames, incoming, beliefs))
        prior, posterior = beliefs.prior.detach()[:, 1:], beliefs.posterior.detach()[:, 1:]
        metrics |= {
            "kl": kl(posterior, prior).mean(),
            "prior_entropy": entropy(prior).mean(),
            "posterior_entropy": entropy(posterior).mean(),
        }
        if not self.training:
            self._update(batch, frames, incoming, beliefs)
        return loss, metrics

    def terms(self, batch: Clip, frames: Tensor, incoming: Tensor, beliefs: Beliefs) -> dict[str, Callable[[], Tensor]]:
        """The terms of the objective. The divergences leave out the first frame, which nothing predicts."""
        model, free = self.model, self.simulator["free_nats"]
        prior, posterior, features = beliefs.prior[:, 1:], beliefs.posterior[:, 1:], beliefs.features
        rows, at, following = self.imagined_places(batch)

        def divergence(first: Tensor, second: Tensor) -> Tensor:
            return kl(first, second).clamp_min(free).mean()

        @cache
        def imagined() -> Beliefs:
            """The beliefs about the frames at `following`, of which none is seen."""
            draws = self.noise(batch, PRIOR, model.groups)[:, : following.shape[1]]
            return model.imagine(features[rows, at][:, 0], incoming[rows, following], draws)

        def stability() -> Tensor:
            return (imagined().hidden - beliefs.hidden.detach()[rows, following]).square().mean()

        outcomes = model.outcomes
        return {
            "reconstruction": lambda: self.reconstruction(features, frames),
            "dynamics": lambda: divergence(posterior.detach(), prior),
            "reward": lambda: outcomes.reward_loss(features[:, 1:], batch["rewards"][:, :-1]),
            "continues": lambda: outcomes.continue_loss(features[:, 1:], batch["terminals"][:, :-1]),
            "kl": lambda: divergence(posterior, prior.detach()),
            "imagination": lambda: self.reconstruction(imagined().features, frames[rows, following]),
            "smoothness": lambda: beliefs.hidden.diff(dim=1).square().mean(),
            "stability": stability,
        }

    def reconstruction(self, features: Tensor, frames: Tensor) -> Tensor:
        """Error of the frames [B, T, C, H, W] decoded from features [B, T, F], summed over the numbers of a frame as a
        log-likelihood is, beside the nats of its state."""
        loss = pixel_loss(self.model.decode(features), frames, self.background, self.simulator)
        return loss * math.prod(frames.shape[2:])

    # -- validation -------------------------------------------------------------------------------------------------

    def _update(self, batch: Clip, frames: Tensor, incoming: Tensor, beliefs: Beliefs) -> None:
        model, given = self.model, self.prompt_length
        features = beliefs.features
        update_frame_psnr(self.psnr, model.decode(features[:, 1:]).sigmoid(), frames, self.background)
        draws = self.noise(batch, PRIOR, model.groups)[:, given:]
        if self.simulator["imagine"] == "mode":
            draws = None  # the most likely classes
        imagined = model.imagine(features[:, given - 1], incoming[:, given:], draws)
        predicted = model.decode(imagined.features).sigmoid()
        shown = predicted, frames[:, given - 1 : given], self.background  # as in REFERENCES
        for metric, prediction in zip(self.horizon_metrics, shown, strict=True):
            metric.update(prediction, frames[:, given:])
        self.update_outcomes(batch, features[:, 1:])

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log_validation(self.psnr.compute())
        curves = zip(REFERENCES, self.horizon_metrics, strict=True)
        self.log_horizons("imagined_psnr", {name: metric.compute() for name, metric in curves})
        for metric in (self.psnr, *self.horizon_metrics):
            metric.reset()
