"""Choice of loggers: metrics.csv always, and Weights & Biases never asks, waits or fails for want of a network."""

import socket
import subprocess
import sys
import time
from importlib import metadata

import numpy as np
import pytest
from hydra import initialize_config_module
from lightning.pytorch.loggers import TensorBoardLogger
from sqlalchemy import make_url

from callbacks.loggers import LoggedRuns, build_loggers, former_runs, summary
from callbacks.metrics_csv import MetricsCSV
from callbacks.mlflow_run import WAIT_SECONDS, MlflowRunLogger, store
from callbacks.points import Points
from callbacks.tensorboard_run import TensorBoardRunLogger
from callbacks.wandb_file import X_AXIS, logged_points, records, row_of
from callbacks.wandb_run import WandbRunLogger, wandb_mode
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.common.media import write_png
from genie.train import main


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def connections(monkeypatch, error: Exception | None) -> list:
    tried = []

    class Connection:
        def close(self):
            pass

    def connect(address, timeout):
        assert timeout <= 5
        tried.append(address)
        if error:
            raise error
        return Connection()

    monkeypatch.setattr(socket, "create_connection", connect)
    return tried


def test_without_a_key_offline_and_no_connection_is_tried(monkeypatch):
    tried = connections(monkeypatch, None)
    assert wandb_mode("auto") == "offline" and tried == []


def test_with_a_key_and_no_network_offline(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "key")
    tried = connections(monkeypatch, TimeoutError())
    assert wandb_mode("auto") == "offline" and tried == [("api.wandb.ai", 443)]


def test_with_a_key_and_a_server_online(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine wandb.example login user password key\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example:8080")
    tried = connections(monkeypatch, None)
    assert wandb_mode("auto") == "online" and tried == [("wandb.example", 8080)]


def test_what_the_user_says_goes(monkeypatch):
    tried = connections(monkeypatch, None)
    assert wandb_mode("online") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode("auto") == "disabled" and tried == []


def names(loggers):
    return [type(logger).__name__ for logger in loggers]


def test_csv_is_always_there(tmp_path):
    assert names(build_loggers({}, tmp_path, "x", None)) == names(build_loggers({"csv": {}}, tmp_path, "x", None))
    csv, board = build_loggers({"tensorboard": {}}, tmp_path, "x", None)
    assert isinstance(csv, MetricsCSV) and isinstance(board, TensorBoardLogger)
    board.log_metrics({"train/loss": 1.0}, step=1)
    board.finalize("success")
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_several_are_chosen_as_a_list(tmp_path):
    with initialize_config_module("conf", version_base="1.3"):
        config = resolved("train", ["logger=[mlflow,wandb,tensorboard,csv]", f"output_dir={tmp_path}"])
        assert resolved("train", ["logger=wandb", "logger.mode=offline"])["logger"]["wandb"]["mode"] == "offline"
    found = build_loggers(config["logger"], tmp_path, "x", None)
    assert names(found) == ["MetricsCSV", "TensorBoardRunLogger", "WandbRunLogger", "MlflowRunLogger"]
    assert not list(tmp_path.iterdir())  # nothing is opened before the training begins


def test_keys_of_a_logger_that_is_not_chosen_are_one_line(tmp_path, run_main, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_main(main, "stage=tokenizer", "logger=mlflow", "logger.project=x")
    line = "'logger.wandb.project': wandb is not chosen: give logger=wandb, or several, logger=[mlflow,wandb]"
    assert code == 2 and err == f"error: {line}\n"
    with pytest.raises(UserError, match=r"logger.wandb has no entity: choose it, logger=wandb, before"):
        build_loggers({"wandb": {"project": "x"}}, tmp_path, "x", None)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_an_extra_that_is_missing_is_one_line(tmp_path, monkeypatch, name):
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda package: version("no-such-package" if package == name else package))
    with pytest.raises(UserError, match=rf"logger={name} needs a package: pip install 'genie-world\[{name}\]'"):
        build_loggers({name: {}}, tmp_path, "x", None)


def test_a_server_of_mlflow_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    keys = {"experiment": "genie", "group": None, "tracking_uri": None, "folder": str(tmp_path)}
    assert store(keys) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="^MLFLOW_TRACKING_URI=http://127.0.0.1:1: the server does not answer"):
        store(keys)
    with pytest.raises(UserError, match=r"^logger.mlflow.tracking_uri=http://\*\*\*@127.0.0.1:1: the server does not"):
        store(keys | {"tracking_uri": "http://me:secret@127.0.0.1:1"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert make_url(store(keys | {"folder": "a?b%20c"})).database == "a?b%20c/mlflow.db"
    assert store(keys | {"tracking_uri": "sqlite:////x.db"}) == "sqlite:////x.db"


class Store:
    """A client of MLflow whose store fails at times."""

    def __init__(self):
        self.points, self.fails, self.attempts = [], False, 0

    def log_batch(self, run_id, metrics):
        self.attempts += 1
        if self.fails:
            raise OSError("database is locked")
        self.points += [(point.key, point.step, point.value) for point in metrics]


def test_training_goes_on_where_the_store_of_mlflow_fails(capsys):
    logger = MlflowRunLogger("sqlite:///x.db", {}, "x", "id")
    logger._client = store = Store()
    store.fails = True
    for step in range(3):
        logger.log_metrics({"train/loss": step}, step)
        logger.sync()
    logger.log_hyperparams({"config": {"a": 1}})  # it has no runs, either
    assert store.points == [] and capsys.readouterr().err.count("WARNING") == 1
    assert store.attempts == 1 and logger.pause > 2 * WAIT_SECONDS  # an attempt may take long
    store.fails, logger.not_before = False, 0.0
    logger.sync()
    assert store.points == [("train/loss", step, step) for step in range(3)] and logger.pause == WAIT_SECONDS


def test_runs_that_begin_together_share_a_new_database(tmp_path):
    program = """
import sys
from callbacks.mlflow_run import MlflowRunLogger, store
keys = {"experiment": "genie", "group": None, "tracking_uri": None, "folder": sys.argv[1]}
logger = MlflowRunLogger(store(keys), keys, sys.argv[2])
logger.log_metrics({"train/loss": 1.0}, 0)
logger.finalize("success")
"""
    command = [sys.executable, "-c", program, str(tmp_path / "outputs")]
    jobs = [subprocess.Popen([*command, f"job {job}"], stderr=subprocess.PIPE, text=True) for job in range(3)]
    errors = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], errors
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("genie").experiment_id])
    assert {run.info.run_name for run in found} == {"job 0", "job 1", "job 2"}
    assert all(run.data.metrics == {"train/loss": 1.0} for run in found)


def test_a_full_disk_under_tensorboard_ends_no_training(tmp_path, monkeypatch, capsys):
    logger = TensorBoardRunLogger(tmp_path, None)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(logger.experiment), "add_scalar", full)
    monkeypatch.setattr(type(logger.experiment), "flush", full)
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step)
        logger.sync()
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_ids_of_runs_outlive_a_logger_that_is_left_out(tmp_path):
    keys = {"experiment": "genie", "group": None, "tracking_uri": "sqlite:///x.db", "folder": str(tmp_path)}
    first = LoggedRuns([MlflowRunLogger("sqlite:///x.db", keys, "x", "abc")])
    between = LoggedRuns([])
    between.load_state_dict(first.state_dict())
    checkpoint = {"global_step": 0, "callbacks": {"LoggedRuns": between.state_dict()}}
    assert former_runs(checkpoint) == {"mlflow": "abc"}
    assert build_loggers({"mlflow": keys}, tmp_path, "x", checkpoint)[1].run_id == "abc"
    assert former_runs({"callbacks": {"WandbRun": {"run_id": "old"}}}) == {"wandb": "old"} and former_runs(None) == {}


def test_a_logger_that_joins_gets_the_whole_curve_and_one_without_its_files_none(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,train/loss\n1,0.5\n2,0.25\n3,0.1\n")
    checkpoint = {"global_step": 2, "callbacks": {"LoggedRuns": {"ids": {"wandb": "abcd"}}}}
    keys = {"project": "p", "entity": None, "group": None, "job_type": None, "mode": "offline"}
    _, board, wandb = build_loggers({"tensorboard": {}, "wandb": keys}, tmp_path, "x", checkpoint)
    assert [row["step"] for row in board.former] == [1, 2] and wandb.former == ()  # W&B may have them already
    _, board, wandb = build_loggers({"tensorboard": {}, "wandb": keys}, tmp_path, "x", {"global_step": 2})
    assert [row["step"] for row in wandb.former] == [1, 2]


def test_the_best_value_is_a_number(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,val/loss\n1,nan\n2,0.5\n3,0.7\n")
    assert summary(tmp_path / "metrics.csv") == [["val/loss", "0.7", "0.5", "2"]]


def test_a_point_is_logged_once():
    points = Points([(1, "train/loss"), (2, "train/loss"), (2, "media/rollout")])
    assert points.new({"train/loss": 2.0, "epoch": 0}, 1) == {"epoch": 0}
    assert points.new({"train/loss": 3.0}, 2) == {} and points.new({"media/rollout": "a file"}, 2) == {}
    assert points.new({"val/loss": 4.0}, 2) == {"val/loss": 4.0}
    assert points.new({"train/loss": 4.0}, 3) == {"train/loss": 4.0}
    assert points.new({"train/loss": 4.0, "epoch": 1}, 3) == {"epoch": 1}
    points.go_back()
    assert points.new({"train/loss": 7.0}, 2) == {"train/loss": 7.0}


def finish(logger, folder, runs=1):
    """Ends a run, one of so many. Another process writes its file, and may end a little later."""
    logger.finalize("success")
    for _ in range(600):
        files = list(folder.glob("wandb/offline-run-*/*.wandb"))
        if sum(any(record.HasField("exit") for record in records(path)) for path in files) == runs:
            time.sleep(1)  # the folder of the next one has another second in its name
            return
        time.sleep(0.1)
    pytest.fail("W&B does not end")


def test_points_that_a_killed_process_of_wandb_lost_are_logged_again(tmp_path):
    rows = [{"step": step, "train/loss": 1.0 / step} for step in range(1, 5)]
    for known in (2, 4):  # rows that were written, of those up to the checkpoint
        logger = WandbRunLogger(rows[:2] if known == 4 else (), name="x", id="abcd", save_dir=tmp_path, mode="offline")
        if known == 4:
            logger.former = rows
            logger.log_hyperparams({"config": {}})
        else:
            for row in rows[:2]:
                logger.log_metrics({"train/loss": row["train/loss"]}, row["step"] - 1)
        finish(logger, tmp_path, known // 2)
    found = [(row[X_AXIS], name) for path in tmp_path.glob("wandb/offline-run-*/*.wandb")
             for row in map(row_of, (record for record in records(path) if record.HasField("history")))
             for name in row if name == "train/loss"]  # fmt: skip
    assert sorted(found) == [(step, "train/loss") for step in range(4)]
    assert logged_points(tmp_path, "abcd") >= {*found} and logged_points(tmp_path, "other") == set()


def test_a_picture_that_a_former_process_logged_is_not_logged_again(tmp_path):
    picture, found = write_png(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8)), []
    for step, runs in ((3, 1), (3, 1), (4, 2)):  # nothing new, no run
        former = [{"step": 1, "train/loss": 1.0}] if found else ()
        logger = WandbRunLogger(former, name="x", id="abcd", save_dir=tmp_path, mode="offline")
        logger.log_picture("media/attention", picture, step)
        finish(logger, tmp_path, runs)
        found = sorted(step for step, name in logged_points(tmp_path, "abcd") if name == "media/attention")
    assert found == [3, 4] and len(list(tmp_path.glob("wandb/offline-run-*/files/media/**/*.png"))) == 2


def test_a_file_that_ends_in_the_middle_of_a_record_is_read_up_to_there(tmp_path):
    logger = WandbRunLogger(name="x", id="abcd", save_dir=tmp_path, mode="offline")
    for step in range(30):
        logger.log_metrics({"train/loss": step}, step)
    finish(logger, tmp_path)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content, counts = path.read_bytes(), []
    for length in range(0, len(content) + 1, 61):
        path.write_bytes(content[:length])
        counts.append(len(logged_points(tmp_path, "abcd")))
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] > 0
