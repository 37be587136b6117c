"""All loggers show the same curves, pictures, videos and tables, each point once, also of a run that was killed."""

import csv
import hashlib
import io
import json
import signal
import sys

import pytest
import yaml

from genie.runs.folder import flatten
from genie.runs.metrics_file import last_values, read_metrics
from genie.train import main

pytestmark = pytest.mark.slow

LOGGERS = ("tensorboard", "wandb", "mlflow")
SPEED = "train/clips_per_second"  # of the process, not of the run: not in metrics.csv
SAVED, KILLED, STEPS = 4, 7, 9
KILL = """
import os, signal, sys, time
from pathlib import Path
from callbacks.progress import StepProgress
from callbacks.wandb_file import logged_points
from genie.train import main

def kill(self, trainer, *_):
    if trainer.global_step == {step}:
        for logger in trainer.loggers:
            logger.sync()  # as if it had been some seconds ago
        deadline = time.monotonic() + 60
        while ({step} - 1, "train/loss") not in logged_points(Path(trainer.default_root_dir), "*"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

StepProgress.on_train_batch_start = kill
main()
"""


class TensorBoard:
    """(name, step, value) of the `points`, {(name, step): hash} of the `pictures`, `videos` as (name, step) with their
    frames, `parameters`, and the rows of the `table`: what every reader here has."""

    def __init__(self, outputs, run, _):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        events = EventAccumulator(str(run / "tensorboard"), dict.fromkeys(("scalars", "images", "tensors"), 0)).Reload()
        tags = events.Tags()
        self.points = [(name, point.step, point.value) for name in tags["scalars"] for point in events.Scalars(name)]
        images = [(name, image) for name in tags["images"] for image in events.Images(name)]
        moving = [(name, image.step) for name, image in images if image.encoded_image_string[:3] == b"GIF"]
        self.videos = sorted(moving)
        self.pictures = sorted((name, image.step, digest(image.encoded_image_string))
                               for name, image in images if (name, image.step) not in moving)  # fmt: skip
        (event,) = events.Tensors("tables/metrics/text_summary")
        lines = event.tensor_proto.string_val[0].decode().splitlines()
        self.table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        parameters = HParamsPluginData.FromString(content).session_start_info.hparams
        self.parameters = {name: value.number_value or value.string_value for name, value in parameters.items()}


class Wandb:
    def __init__(self, outputs, run, wandb_file):
        folders = sorted(run.glob("wandb/offline-run-*"), key=lambda folder: folder.stat().st_mtime_ns)
        first, second = (next(folder.glob("*.wandb")) for folder in folders)
        parts = [wandb_file(first, last=KILLED - 1), wandb_file(second)]
        assert {part.run.run_id for part in parts} == {parts[0].run.run_id}
        rows = [row for part in parts for row in part.history]
        self.points, self.pictures, self.videos, self.table = [], [], [], None
        for row in rows:
            step = row.pop("trainer/global_step")
            self.points += [(name, step, value) for name, value in row.items()
                            if not name.startswith(("_", "tables/", "media/"))]  # fmt: skip
            for name, value in row.items():
                shown, _, key = name.rpartition("/")
                if key == "filenames":
                    contents = [next(run.glob(f"wandb/*/files/{path}")).read_bytes() for path in value]
                    self.pictures += [(shown, step, digest(content)) for content in contents]
                elif key == "videos":
                    self.videos += [(shown, step) for _ in value]
                elif name == "tables/metrics/path":
                    table = json.loads(next(run.glob(f"wandb/*/files/{value}")).read_text())
                    self.table = [table["columns"], *table["data"]]
        self.videos, self.pictures = sorted(self.videos), sorted(self.pictures)
        self.parameters = flatten({name: value for name, value in parts[0].config.items() if not name.startswith("_")})


class Mlflow:
    def __init__(self, outputs, run, _):
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
        experiment = client.get_experiment_by_name("genie")
        assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
        (found,) = client.search_runs([experiment.experiment_id])
        assert found.info.status == "FINISHED" and found.info.run_name == "run tokenizer"
        assert found.data.tags["resumed.resume"] == "True" and "versions.torch" in found.data.tags
        names, number = found.data.metrics, found.info.run_id
        self.points = [(name, point.step, point.value) for name in names
                       for point in client.get_metric_history(number, name)]  # fmt: skip
        self.pictures, self.videos = [], []
        for kind in client.list_artifacts(number, "media"):
            for file in client.list_artifacts(number, kind.path):
                step = int(file.path.rpartition("step_")[2].split(".")[0]) - 1  # as in the run folder: steps done
                content = (outputs / "mlartifacts" / number / "artifacts" / file.path).read_bytes()
                shown = (kind.path, step, digest(content))
                self.videos.append(shown[:2]) if file.path.endswith(".mp4") else self.pictures.append(shown)
        self.videos, self.pictures = sorted(self.videos), sorted(self.pictures)
        text = (outputs / "mlartifacts" / number / "artifacts" / "tables" / "metrics.csv").read_text()
        self.table = list(csv.reader(io.StringIO(text)))
        self.parameters = found.data.params


READERS = {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": Mlflow}


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def killed(tmp_path_factory, pong_root, run):
    """(outputs, run folder) of a training with all loggers that was killed three steps after its last checkpoint, and
    went on."""
    outputs = tmp_path_factory.mktemp("outputs")
    arguments = ["stage=tokenizer", "debug=fast", f"data.root={pong_root}", f"output_dir={outputs}", "name=run"]
    arguments += [f"logger=[{','.join(LOGGERS)}]", "logger.wandb.mode=offline", f"trainer.max_steps={STEPS}"]
    arguments += [f"trainer.val_check_interval={SAVED}", "callbacks.checkpoint.every_n_train_steps=100"]
    arguments += [f"callbacks.rollouts.every_n_train_steps={SAVED}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(outputs))
        for name in ("WANDB_MODE", "WANDB_SERVICE", "MLFLOW_TRACKING_URI"):  # the second: what other tests log to
            patch.delenv(name, raising=False)
        process = run(outputs, "-c", KILL.format(step=KILLED), *arguments)
        assert process.returncode == -signal.SIGKILL, process.stderr
        folder = outputs / "run" / "tokenizer"
        assert {KILLED, SAVED} <= {row["step"] for row in read_metrics(folder / "metrics.csv")}
        patch.setattr(sys, "argv", ["train.py", *arguments, "resume=true"])
        main()
    return outputs, folder


@pytest.fixture(scope="module")
def read(killed, wandb_file):
    """read(logger): what its own reader finds."""
    found = {}
    return lambda name: found.setdefault(name, READERS[name](*killed, wandb_file))


@pytest.mark.parametrize("logger", LOGGERS)
def test_curves_are_those_of_metrics_csv_and_each_point_is_there_once(killed, read, logger):
    points = read(logger).points
    found = {(name, step): value for name, step, value in points}
    assert len(found) == len(points)
    expected = {
        (name, row["step"] - 1): value
        for row in read_metrics(killed[1] / "metrics.csv")
        for name, value in row.items()
        if name != "step"
    }
    assert {name for name, _ in expected} >= {"train/loss", "val/psnr", "train/learning_rate", "epoch"}
    assert {step for _, step in expected} == set(range(STEPS))
    shown = {point: value for point, value in found.items() if point[0] != SPEED}
    assert shown == {point: pytest.approx(value, rel=1e-6) for point, value in expected.items()}


@pytest.mark.parametrize("logger", LOGGERS)
def test_the_speed_has_the_steps_of_the_loss(read, logger):
    points = read(logger).points
    assert sorted(step for name, step, _ in points if name == SPEED) == list(range(STEPS))


@pytest.mark.parametrize("logger", LOGGERS)
def test_pictures_and_videos_are_the_files_of_the_run_folder(killed, read, logger):
    shown_as = {"tokenizer": "media/reconstruction", "codebook": "media/codebook", "attention": "media/attention"}
    files = [(shown_as[file.stem], int(file.parent.name.split("_")[1]) - 1, file)
             for file in (killed[1] / "media").glob("step_*/*.*")]  # fmt: skip
    videos = sorted((name, step) for name, step, file in files if file.suffix == ".mp4")
    pictures = sorted((name, step, digest(file.read_bytes())) for name, step, file in files if file.suffix == ".png")
    assert read(logger).videos == videos and len(videos) == 3
    assert read(logger).pictures == pictures and len(pictures) == 6


@pytest.mark.parametrize("logger", LOGGERS)
def test_the_table_has_the_last_and_the_best_values(killed, read, logger):
    header, *rows = read(logger).table
    last = last_values(killed[1] / "metrics.csv")
    table = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    assert header == ["metric", "last", "best", "best at step"] and table.keys() == last.keys() - {"step", "epoch"}
    assert {name: float(row["last"]) for name, row in table.items()} == {name: last[name] for name in table}
    losses = {row["step"]: row["train/loss"] for row in read_metrics(killed[1] / "metrics.csv") if "train/loss" in row}
    best = min(losses, key=losses.__getitem__)
    assert (float(table["train/loss"]["best"]), int(table["train/loss"]["best at step"])) == (losses[best], best)
    assert table["val/psnr_background"]["best"] == ""


@pytest.mark.parametrize("logger", LOGGERS)
def test_hyperparameters_are_the_keys_of_the_command_line(killed, read, logger):
    config = flatten(yaml.safe_load((killed[1] / "config.yaml").read_text()))
    parameters = read(logger).parameters
    assert {*config} - {"resume"} <= parameters.keys()
    assert float(parameters["optimizer.lr"]) == config["optimizer.lr"]
    assert str(parameters["data.root"]) == config["data.root"]
