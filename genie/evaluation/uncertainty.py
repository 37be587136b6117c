"""Does the world know when it is wrong? Signs of uncertainty of generated frames, against their true errors.

Dimension letters: `N` clips, `n` generated frames, `C H W` channels and pixels.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from data_modules.held_out_clips import Clips, in_segments
from genie.common.plots import save_figure
from genie.evaluation.part import Evaluation, Part, Row, number
from genie.evaluation.rollout import clip_seeds, true_actions
from genie.evaluation.trained_run import TrainedRun
from genie.metrics.metric_info import HIGHER, Definition, MetricInfo

SIGNS = {"entropy": "entropy of the drawn tokens [nats]", "reencoded": "tokens that change when encoded again"}
BINS = 10  # groups of frames, from the surest on, in the plot


@torch.no_grad()
def evaluate_uncertainty(run: TrainedRun, clips: Clips, prompt: int, horizon: int, seed: int, folder: Path) -> dict:
    """For each of the `SIGNS` its `mean` and `by_horizon`, and the `correlation` with the true error (Spearman's, with
    the mean squared error of the frame): over all frames, and `within_horizon`, the mean over horizons of that among
    the frames of one, since errors and signs both grow with the horizon. Writes uncertainty.png.

    Raises LeftOut where it is not known what was done in the clips.
    """
    world, found = run.world, {name: [] for name in (*SIGNS, "error")}
    actions = true_actions(run, clips)
    for numbers, batch in clips.numbered_batches():
        frames = batch.floats()[:, : prompt + horizon]
        here = actions[numbers.start : numbers.stop]
        coming, given = here[:, prompt - 1 : prompt - 1 + horizon], frames[:, :prompt].to(world.device)
        seeds = clip_seeds(seed, numbers, 0)
        steps = list(world.steps(given, coming, seeds, prompt_actions=here[:, : prompt - 1]))
        made = torch.stack([step.observation for step in steps], dim=1)  # [N, n, C, H, W]
        tokens = torch.stack([step.tokens for step in steps], dim=1)
        video = torch.cat([given, made], dim=1)
        (again,) = in_segments(lambda part: (world.tokenizer.encode(part),), video, world.window)
        found["entropy"].append(torch.stack([step.uncertainty for step in steps], dim=1).cpu())
        found["reencoded"].append((again[:, prompt:] != tokens).float().mean(2).cpu())
        found["error"].append((made.cpu() - frames[:, prompt:]).square().mean((2, 3, 4)))
    values = {name: torch.cat(parts).double().numpy() for name, parts in found.items()}  # [N, n]
    draw(values, folder / "uncertainty.png")
    return {name: figures(values[name], values["error"]) for name in SIGNS}


def figures(sign: np.ndarray, error: np.ndarray) -> dict:
    """Of a sign and the errors float [N, n]."""
    within = [spearman(sign[:, h], error[:, h]) for h in range(sign.shape[1])]
    known = [value for value in within if np.isfinite(value)]
    return {
        "mean": float(sign.mean()),
        "by_horizon": sign.mean(0).tolist(),
        "correlation": spearman(sign.ravel(), error.ravel()),
        "correlation_within_horizon": float(np.mean(known)) if known else float("nan"),
    }


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """NaN where one of them is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(stats.spearmanr(first, second).statistic)


def draw(values: dict[str, np.ndarray], path: Path) -> None:
    """PSNR of the frames in tenths, from the surest on, by each sign."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    panels = figure.subplots(1, len(SIGNS), sharey=True)
    error = values["error"].ravel()
    for panel, (name, label) in zip(panels, SIGNS.items(), strict=True):
        sign = values[name].ravel()
        tenths = (stats.rankdata(sign) * BINS / (len(sign) + 1)).astype(int)  # equal ones are in the same
        groups = [np.flatnonzero(tenths == tenth) for tenth in np.unique(tenths)]
        psnr = [-10 * np.log10(max(error[group].mean(), 1e-10)) for group in groups]
        panel.plot([sign[group].mean() for group in groups], psnr, "o-")
        panel.set(xlabel=label, ylabel="PSNR of these frames [dB]" if name == "entropy" else None)
        panel.grid(alpha=0.3)
    save_figure(figure, path)


DEFINITION = Definition(
    "uncertainty", "Uncertainty", "Uncertainty",
    "Two signs that a generated frame may be wrong, which need no truth: the mean entropy of its tokens when they were "
    "drawn, and the share of its tokens that change when the decoded frame is encoded again. Their rank correlation "
    "with the true error says whether they can be believed.",
)  # fmt: skip


def _rows(report: dict) -> list[Row]:
    rows = []
    for name, label in (("entropy", "entropy of a drawn token"), ("reencoded", "tokens that change, encoded again")):
        if sign := report.get("uncertainty", {}).get(name):
            kinds = [number(sign[kind], none="not measured") for kind in ("correlation", "correlation_within_horizon")]
            mean = f"{number(sign['mean'], 3)} nats" if name == "entropy" else f"{sign['mean']:.1%}"
            note = f"rank correlation with the true error {kinds[0]}, among frames of one horizon {kinds[1]}"
            rows.append((label, mean, "", "", note))
    return rows


def _measure(evaluation: Evaluation) -> dict:
    run, clips, config = evaluation.run, evaluation.clips, evaluation.config
    found = evaluate_uncertainty(run, clips, config.prompt_frames, config.horizon, config.seed, evaluation.folder)
    return {"uncertainty": found}


def _metric(path: str, label: str, *says: str, **more) -> MetricInfo:
    return MetricInfo(f"uncertainty.{path}", label, *says, definition=DEFINITION, **more)


UNCERTAINTY = Part(
    "uncertainty",
    _measure,
    needs=("genie", "dynamics"),
    metrics=(
        _metric("entropy.mean", "entropy of a drawn token", unit="nats", digits=3),
        _metric("entropy.by_horizon", "entropy of a drawn token, by horizon", unit="nats", digits=3),
        _metric("reencoded.mean", "tokens that change, encoded again", unit="%", digits=1),
        _metric("reencoded.by_horizon", "tokens that change, encoded again, by horizon", unit="%", digits=1),
        _metric("{sign:entropy|reencoded}.correlation", "{sign}: rank correlation with the true error",
                "over all generated frames", better=HIGHER),
        _metric("{sign:entropy|reencoded}.correlation_within_horizon", "{sign}: … among frames of one horizon",
                "mean over the horizons", better=HIGHER),
    ),
    titles={"uncertainty": "Uncertainty"},
    rows=_rows,
)  # fmt: skip
