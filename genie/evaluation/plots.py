"""The plots of an evaluation."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from genie.files import replacing

# name of a curve -> its style; the baselines are grey, so that the eye goes to what is measured
STYLES = {
    "psnr": {"label": "generated", "color": "tab:orange", "marker": "o"},
    "psnr_reconstruction": {"label": "tokenizer alone (the best possible)", "color": "tab:blue", "linestyle": "--"},
    "psnr_copy_last": {"label": "copy of the last given frame", "color": "0.4", "marker": "s", "markersize": 4},
    "psnr_background": {"label": "constant background", "color": "0.6", "linestyle": ":"},
}


def plot_horizon(curves: dict[str, list[float]], path: Path) -> None:
    """PSNR [dB] against the number of the generated frame, one line for each key of `STYLES` in `curves`."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, style in STYLES.items():
        axes.plot(range(1, len(curves[name]) + 1), curves[name], **style)
    axes.set(xlabel="generated frame (horizon)", ylabel="PSNR [dB]")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    _save(figure, path)


def plot_confusion(confusion: Tensor, true_names: list[str], path: Path) -> None:
    """Counts [latent, true] as shares of each latent action, with the counts written in."""
    shares = confusion / confusion.sum(1, keepdim=True).clamp_min(1)
    rows, columns = confusion.shape
    figure = Figure(figsize=(2 + 0.9 * columns, 1.4 + 0.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for row in range(rows):
        for column in range(columns):
            color = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, f"{int(confusion[row, column])}", ha="center", va="center", color=color)
    axes.set_xticks(range(columns), true_names, rotation=30 if columns > 4 else 0)
    axes.set_yticks(range(rows), [str(row) for row in range(rows)])
    axes.set(xlabel="true action", ylabel="latent action")
    figure.colorbar(image, label="share of the latent action")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
