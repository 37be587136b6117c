"""Video tokenizer (stage 1, Genie §2.1): clips reconstructed through discrete tokens."""

from torch import Tensor
from torchmetrics.image import StructuralSimilarityIndexMeasure

from data_modules.clips import Clip
from genie.common.device import full_precision
from genie.metrics.actions import CodeUsage
from genie.metrics.psnr import frame_psnr, update_frame_psnr
from genie.metrics.token_accuracy import TokenJitter
from genie.stages.base import Stage
from genie.stages.losses import pixel_loss, stability_loss

JITTERS = 0.03  # share of tokens from which on it is said: 0.16 makes play slow and tears what moves, 0.01 does not


class TokenizerStage(Stage):
    """Options (`stage:` of the configuration): `quantizer_weight`, those of `pixel_loss`, and `stability_weight` of
    `stability_loss` with its `stability_tolerance`."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.usage = CodeUsage(self.model.num_codes)
        self.jitter = TokenJitter()
        self.psnr = frame_psnr("psnr", "psnr_copy_last", "psnr_background")
        self.ssim = StructuralSimilarityIndexMeasure(data_range=1.0)

    @property
    def tokens_per_frame(self) -> int:
        return self.model.num_tokens

    def start_from_background(self) -> None:
        self.model.start_from(self.background)

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        frames = self.frames(batch)
        output = self.model(frames)
        reconstruction = pixel_loss(output.logits, frames, self.background, self.options)
        if not self.training:
            self._update(frames, output)
        loss = reconstruction + self.options["quantizer_weight"] * output.quantizer_loss
        metrics = {"reconstruction_loss": reconstruction.detach(), "quantizer_loss": output.quantizer_loss.detach()}
        if weight := self.options.get("stability_weight", 0):
            still = self.model.patches.still(frames, self.options["stability_tolerance"])
            stability = stability_loss(output.latents, still)
            loss = loss + weight * stability
            metrics["stability_loss"] = stability.detach()
        return loss, metrics

    def hints(self, metrics: dict[str, float]) -> list[str]:
        jitter = metrics.get("val/jitter", 0.0)
        if jitter < JITTERS or self.options.get("stability_weight", 0):
            return []
        return [
            f"{jitter:.0%} of the tokens change where the picture stands still (val/jitter), as with the noise of a "
            "camera: dynamics have to guess them in every frame. Train anew with recipe.tokenizer.stability_weight=1 "
            "recipe.tokenizer.stability_tolerance=0.02 (docs/faq.md#the-picture-flickers-or-things-jitter)"
        ]

    def _update(self, frames: Tensor, output) -> None:
        self.usage.update(output.tokens)
        self.jitter.update(output.tokens, frames, self.background, self.model.patches)
        with full_precision(frames):  # SSIM takes variances as differences of squares, of which bf16 leaves nothing
            reconstruction, frames = output.reconstruction.float(), frames.float()
            update_frame_psnr(self.psnr, reconstruction[:, 1:], frames, self.background)
            self.ssim.update(reconstruction[:, -1], frames[:, -1])  # of all frames it would be most of a validation

    def on_validation_epoch_end(self) -> None:
        usage = {f"codebook_{name}": value for name, value in self.usage.compute().items()}
        values = {**self.psnr.compute(), "ssim": self.ssim.compute(), **usage, **self.jitter.compute()}
        self.log_validation(values)
        for metric in (self.usage, self.jitter, self.psnr, self.ssim):
            metric.reset()
