"""How far ahead does a world see? The error of what it imagines against the horizon, for worlds of any kind.

Errors are those of observations (pixels, or the numbers of a state), and for a world of tokens of these, too. Beside
them stands what needs no world: the last given observation, for ever.

Dimension letters: `N` clips, `T` observations of one, `O` the shape of an observation, `n` horizon, `S` tokens.
"""

from pathlib import Path

import torch
from torch import Tensor

from genie.common.plots import plot_horizon
from genie.evaluation.clips import Clips, in_windows
from genie.evaluation.imagined import Foresight, Imagined
from genie.world.protocol import World

# kinds of error -> what is on the axis
UNITS = {
    "pixel_error": "error of pixels (RMSE of values in [0, 1])",
    "token_error": "share of wrong tokens",
    "state_error": "error of states (RMSE in standard deviations)",
}
COPY = "_copy_last"


def evaluate_prediction(foresight: Foresight, folder: Path) -> dict:
    """For each kind of error that the world has (`prediction_errors`) and its `_copy_last`: a list over the horizon,
    the mean over it, the first and the last value; `horizons_below_copy_last`, at how many horizons the error of
    observations is below that of the copy. Draws prediction_<kind>.png."""
    errors = prediction_errors(foresight.world, foresight.clips, foresight.imagined)
    figures: dict = {}
    for name, curve in errors.items():
        figures |= {f"{name}_first": curve[0], f"{name}_last": curve[-1], f"{name}_mean": sum(curve) / len(curve)}
        figures[f"{name}_by_horizon"] = curve
    seen = next(iter(errors))
    pairs = zip(errors[seen], errors[f"{seen}{COPY}"], strict=True)
    figures["horizons_below_copy_last"] = sum(ours < copied for ours, copied in pairs)
    for kind, unit in UNITS.items():
        if kind in errors:
            plot_horizon({"": errors[kind], COPY: errors[f"{kind}{COPY}"]}, unit, folder / f"prediction_{kind}.png")
    return figures


@torch.no_grad()
def prediction_errors(world: World, clips: Clips, imagined: Imagined) -> dict[str, list[float]]:
    """By kind of error a list over the horizon, and the same of the copy:

    - `pixel_error`, or `state_error` for a world of states: root mean squared error over all clips; of pixels in
      [0, 1], of the numbers of a state in their standard deviations, so that 1 is no better than knowing nothing;
    - `token_error`, for a world of tokens: the share of those that are not the ones of the true frame.
    """
    observations = clips.observations
    prompt = observations.shape[1] - imagined.observations.shape[1]
    target, last = observations[:, prompt:], observations[:, prompt - 1 : prompt]
    unit, kind = _units(observations), "pixel_error" if observations.ndim > 3 else "state_error"
    errors = {kind: _errors(imagined.observations, target, unit), f"{kind}{COPY}": _errors(last, target, unit)}
    if imagined.tokens is not None:
        true = torch.cat([_tokens(world, batch, prompt - 1) for batch in clips.batches()])
        for name, made in (("token_error", imagined.tokens), (f"token_error{COPY}", true[:, :1])):
            errors[name] = (made != true[:, 1:]).float().mean(dim=(0, 2)).tolist()
    return errors


def _tokens(world: World, clips: Clips, start: int) -> Tensor:
    """int64 [B, T - start, S] of the true frames from number `start` on."""
    frames = clips.floats().to(world.device)
    return in_windows(lambda part: (world.tokenizer.encode(part),), frames, world.window)[0][:, start:].cpu()


def _units(observations: Tensor) -> Tensor:
    """What errors are counted in: 1 for frames, the standard deviation [n] of each number of a state over all clips. A
    number that never changes counts in its own units."""
    if observations.ndim > 3:
        return torch.ones(())
    spread = observations.flatten(0, 1).std(0)
    return torch.where(spread > 0, spread, 1.0)


def _errors(made: Tensor, target: Tensor, unit: Tensor) -> list[float]:
    squares = ((made - target) / unit).square()
    return squares.mean(dim=(0, *range(2, squares.ndim))).sqrt().tolist()
