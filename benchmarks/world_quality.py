"""What is a change of the recipe worth, at equal CPU seconds? `python -m benchmarks.world_quality experiment=pong`.

Trains the variants of one stage, each for the same CPU seconds of this process (all threads together, validation and
these measurements not counted), and measures them on test clips when some of the seconds are over:

    stage=dynamics    rollouts: the share of rally frames in which the ball is found, and in its place, 1, 5 and 10
                      frames after the prompt; PSNR; and the tokens that one pass gets right after a true past
    stage=lam         agreement of the latent actions with the recorded ones: normalised mutual information, and percent
                      right with the best matching; PSNR of the next frame
    stage=tokenizer   decoded true tokens: PSNR, that of what is not background alone, the ball present, in place and
                      twice, and the jitter of the tokens

Of data that record no objects, such as MinAtar's, the figures of objects are left out.

    python -m benchmarks.world_quality stage=dynamics experiment=pong seconds=300,600 seeds=0,1 \
      'variant=masked recipe.dynamics.context=masked' 'variant=clean recipe.dynamics.context=clean' \
      tokenizer_ckpt=outputs/pong/tokenizer/checkpoints/last.ckpt

    variant=NAME KEY=VALUE …    overrides of genie.train for one variant; without any, the configuration as it is
    seconds=300,600,1200        when it is measured; the schedule of the learning rate ends with the last
    seeds=0,1,2                 of the trainings; the plot shows their range as a band
    clips=32 prompt_frames=4    test clips for rollouts, and frames given of each
    output=world_quality        .json with all figures, .md with the table, .png with the plot
    keep=FOLDER                 also what is trained, as runs FOLDER/NAME_SEED, of which genie.evaluate says more

The dynamics takes the recorded actions (`stage.actions=environment`) where nothing else is given: what the latent
action model gets wrong is left out. An object is in a rally while it was found in the last two given frames and in
every true frame since: nobody has to guess a serve. Rows are printed as they are measured.
"""

import json
import shlex
import time
import warnings
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from benchmarks.arguments import arguments, configuration, started
from data_modules.clip_data_module import ClipDataModule
from data_modules.held_out_clips import Clips, load_clips
from genie.common.device import keep_freed_memory
from genie.common.settings.kinds import Count, Place, Positive, Seed, Settings, Some
from genie.distributed.strategy import chosen_precision
from genie.evaluation.latent_actions import actions_between, predict
from genie.evaluation.rollout import clip_seeds, generate
from genie.evaluation.tokenizer import reconstruct
from genie.evaluation.tokens import after_true_past
from genie.evaluation.trained_run import Trained
from genie.metrics.actions import ActionAlignment
from genie.metrics.object_detector import ObjectDetector
from genie.metrics.objects import ObjectPresence, Reference, reference
from genie.metrics.psnr import frame_psnr, psnr, update_frame_psnr
from genie.metrics.token_accuracy import SHOWS, TokenAccuracy, showing
from genie.stages import Stage, build_stage, complete
from genie.training.train import quiet_lightning
from genie.world.loading import parts_of
from genie.world.world_model import WorldModel

HORIZONS = (1, 5, 10)
WARM_UP = 5  # steps whose time says how many there will be


class Arguments(Settings):
    seconds: Some[Positive] = [300, 600]
    seeds: Some[Seed] = [0]
    clips: Count = 32
    prompt_frames: Count = 4
    output: Place = "world_quality"
    keep: str = ""


class Done(Exception):
    """The seconds of a training are over."""


class Judge:
    """Measures stages on test clips of `given` + 10 frames."""

    def __init__(self, clips: Clips, given: int, window: int) -> None:
        self.clips, self.given, self.window = clips, given, window
        self.truth = self.rally = None
        if not clips.has_objects:
            return
        frames = clips.floats()
        self.detector = ObjectDetector(frames.flatten(0, 1), clips.objects.flatten(0, 1), clips.background)
        self.truth = reference(self.detector, frames, clips.objects)
        self.rally = self.truth.rally(given)

    def __call__(self, stage: Stage) -> dict[str, float]:
        """Figures by name, shares in percent."""
        stage.eval()
        with torch.no_grad():
            figures = getattr(self, stage.options["name"])(stage)
        stage.train()
        return figures

    def tokenizer(self, stage: Stage) -> dict[str, float]:
        """The ceiling of all rollouts, and jitter."""
        frames, model = self.clips.floats(), stage.model
        rebuilt, tokens = reconstruct(model, frames, self.window)
        error = (rebuilt - frames).square()
        things = (frames - self.clips.background).abs().amax(2, keepdim=True) > SHOWS
        figures = {"psnr": float(psnr(error.mean()))}
        figures["psnr of things"] = float(psnr(error[things.expand_as(error)].mean()))
        figures |= self.objects(rebuilt, self.truth, (None,))
        still = model.patches.still(frames)
        jitter = (tokens[:, 1:] != tokens[:, :-1])[still].float().mean()
        return figures | {"jitter": 100 * float(jitter)}

    def lam(self, stage: Stage) -> dict[str, float]:
        """PSNR of the next frame, and agreement with the recorded actions."""
        frames = self.clips.floats()
        prediction, actions = predict(Trained(stage.model, self.window), frames)
        values = frame_psnr("psnr", "psnr_copy_last", "psnr_background")
        update_frame_psnr(values, prediction, frames, self.clips.background)
        figures = {name: float(value) for name, value in values.compute().items()}
        if self.clips.actions is not None and self.clips.info.num_actions:
            alignment = ActionAlignment(stage.model.num_actions, self.clips.info.num_actions)
            alignment.update(actions, self.clips.actions[:, :-1])
            found = alignment.compute()
            figures |= {"nmi": float(found["nmi"]), "matching": 100 * float(found["accuracy"])}
        return figures

    def dynamics(self, stage: Stage) -> dict[str, float]:
        """Rollouts, and tokens right in one pass after a true past."""
        frames, given = self.clips.floats(), self.given
        world = WorldModel(**parts_of(stage, stage.frozen["tokenizer"], stage.frozen.get("lam")))
        actions = actions_between(world, self.clips)
        count = max(HORIZONS)
        made = generate(world, frames, actions, given, count, clip_seeds(0, range(len(frames))))
        error = (made - frames[:, given:]).square().mean((0, 2, 3, 4))
        figures = {f"psnr@{step}": float(psnr(error[step - 1])) for step in (1, count)}
        figures |= self.objects(made, self.rally, HORIZONS)
        clip = frames[:, : self.window]
        tokens = world.tokenizer.encode(clip)
        accuracy, shown = TokenAccuracy(), showing(world.tokenizer.patches, clip, self.clips.background)[:, 1:]
        guessed = after_true_past(stage.model, tokens, actions[:, : self.window - 1])
        accuracy.update(*guessed, tokens[:, 1:], tokens[:, :-1], shown)
        found = defaultdict(lambda: float("nan"), accuracy.compute())
        for name, kind in {"tokens": "token", "object": "object_token", "changed": "changed_token"}.items():
            figures[f"{name} right"] = 100 * found[f"{kind}_accuracy"]
        return figures | {"nats of objects": found["object_token_cross_entropy"]}

    def objects(self, made: Tensor, truth: Reference | None, steps: tuple[int | None, ...]) -> dict[str, float]:
        """Present, in place and twice of each object at some steps after the prompt, None: over all frames."""
        if truth is None:
            return {}
        metric = ObjectPresence(self.detector, made.shape[1])
        metric.update(made, truth)
        values, figures = metric.compute(), {}
        for index, name in enumerate(self.clips.object_names):
            for step in steps:
                for figure in ("present", "in_place", "doubled"):
                    found = values[figure][index] if step is None else values[f"{figure}_by_horizon"][index, step - 1]
                    figures[f"{name} {figure}" + ("" if step is None else f"@{step}")] = 100 * float(found)
            if len(steps) > 1:
                figures[f"{name} doubled"] = 100 * float(values["doubled"][index])
        return figures


class Clock(L.Callback):
    """Measures a stage when its CPU seconds are over, and ends its training with the last of them."""

    def __init__(self, marks: list[float], judge: Judge, found: list[dict[str, Any]], keep: Path | None) -> None:
        self.marks, self.judge, self.found, self.keep = list(marks), judge, found, keep
        self.spent, self.since = 0.0, 0.0

    def on_train_start(self, trainer: L.Trainer, stage: L.LightningModule) -> None:
        self.since = time.process_time()

    def on_train_batch_end(self, trainer: L.Trainer, stage: L.LightningModule, *_: Any) -> None:
        self.spent += time.process_time() - self.since
        while self.marks and self.spent >= self.marks[0]:
            figures = {"seconds": self.marks.pop(0), "steps": trainer.global_step, **self.judge(stage)}
            self.found.append(figures)
        if not self.marks:
            if self.keep is not None:
                trainer.save_checkpoint(self.keep / stage.options["name"] / "checkpoints" / "last.ckpt")
            raise Done
        self.since = time.process_time()


class StepTime(L.Callback):
    """CPU seconds of a step, from some after the first."""

    seconds = float("nan")

    def on_train_batch_end(self, trainer: L.Trainer, stage: L.LightningModule, *_: Any) -> None:
        now = time.process_time()
        if trainer.global_step == WARM_UP:
            self.started = now
        if trainer.global_step == 3 * WARM_UP:
            self.seconds = (now - self.started) / (2 * WARM_UP)
            raise Done


def fit(config: dict[str, Any], data: ClipDataModule, callback: L.Callback) -> None:
    """Trains the stage of a configuration until the callback ends it."""
    L.seed_everything(config["seed"], verbose=False)
    opened = complete(config, lambda: data)
    stage = build_stage(config)
    stage.load_dependencies(opened)
    stage.set_data(data)
    trainer = L.Trainer(
        accelerator="cpu", precision=chosen_precision(config["trainer"]), max_steps=-1, max_epochs=-1, logger=False,
        gradient_clip_val=config["trainer"]["gradient_clip_val"], callbacks=[callback], num_sanity_val_steps=0,
        limit_val_batches=0, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with suppress(Done):
        trainer.fit(stage, datamodule=data)


def step_seconds(config: dict[str, Any], data: ClipDataModule) -> float:
    """CPU seconds of a step, on average over a run, which takes `places` of a frame until `places_until`, then all."""
    options, total = config["stage"], 0.0
    until = options.get("places_until", 1.0) if options.get("places", 1.0) < 1 else 1.0
    for share, changes in ((until, {}), (1 - until, {"places": 1.0})):
        if share:
            step, trainer = StepTime(), config["trainer"] | {"max_steps": 10**6}
            fit(config | {"stage": options | changes, "trainer": trainer}, data, step)
            total += share * step.seconds
    return total


def train(
    overrides: list[str], marks: list[float], clips: int, given: int, keep: Path | None = None
) -> list[dict[str, Any]]:
    """The figures of one training at each mark."""
    config = configuration("train", overrides)
    config["data"] |= {"num_workers": 0, "seed": config["seed"]}
    data = ClipDataModule(**config["data"])
    data.setup("fit")
    test = load_clips(config["data"], None, "test", clips, given + max(HORIZONS), clips)
    judge, found = Judge(test, given, config["data"]["num_frames"]), []
    config["trainer"]["max_steps"] = max(1, round(marks[-1] / step_seconds(config, data)))
    config["schedule"]["warmup_steps"] = min(config["schedule"]["warmup_steps"], config["trainer"]["max_steps"] // 2)
    fit(config, data, Clock(marks, judge, found, keep))
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """One row for each variant and mark, means over the seeds."""
    groups: dict[tuple[str, float], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["variant"], row["seconds"]].append(row)
    names = [name for name in rows[0] if name not in ("variant", "seed", "seconds")]
    lines = [f"| variant | CPU-s | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for (variant, seconds), group in groups.items():
        cells = [f"{mean(row[name] for row in group):.4g}" for name in names]
        lines.append(f"| {variant} | {seconds:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Shares in percent against CPU seconds, a panel for each figure, a line for each variant, seeds as a band."""
    wanted = [f"ball in_place@{step}" for step in HORIZONS] + ["object right"]
    if not set(wanted) & rows[0].keys():
        wanted = ["ball present", "ball in_place", "ball doubled", "jitter", "matching"]
    wanted = [name for name in wanted if name in rows[0]]
    figure, panels = plt.subplots(1, len(wanted), figsize=(4 * len(wanted), 3.5), layout="constrained", squeeze=False)
    for panel, name in zip(panels[0], wanted, strict=True):
        for variant in dict.fromkeys(row["variant"] for row in rows):
            points: dict[float, list[float]] = defaultdict(list)
            for row in rows:
                if row["variant"] == variant:
                    points[row["seconds"]].append(row.get(name, float("nan")))
            seconds = list(points)
            panel.plot(seconds, [mean(points[at]) for at in seconds], marker="o", label=variant)
            panel.fill_between(
                seconds, [min(points[at]) for at in seconds], [max(points[at]) for at in seconds], alpha=0.2
            )
        panel.set(title=name, xlabel="CPU seconds", ylabel="%")
    panels[0, 0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    keep_freed_memory()
    quiet_lightning()
    warnings.filterwarnings("ignore")
    given, others = arguments(Arguments, others=True)
    variants, rest = {}, []
    for argument in others:
        key, _, value = argument.partition("=")
        if key == "variant":
            name, *changes = shlex.split(value)
            variants[name] = changes
        else:
            rest.append(argument)
    keys = {argument.partition("=")[0] for argument in rest}
    rest += [] if "stage" in keys else ["stage=dynamics"]
    if "stage=dynamics" in rest and "stage.actions" not in keys:
        rest.append("stage.actions=environment")
    output, rows = Path(given.output), []
    for seed in given.seeds:
        for name, changes in (variants or {"as it is": []}).items():
            keep = Path(given.keep) / f"{name}_{seed}" if given.keep else None
            overrides = [*rest, *changes, f"seed={seed}"]
            found = train(overrides, sorted(given.seconds), given.clips, given.prompt_frames, keep)
            for figures in found:
                rows.append({"variant": name, "seed": seed, **figures})
                print(" ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                               for key, value in rows[-1].items()), flush=True)  # fmt: skip
            output.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    output.with_suffix(".md").write_text(table(rows) + "\n")
    plot(rows, output.with_suffix(".png"))
    print(table(rows))


if __name__ == "__main__":
    started(main)
