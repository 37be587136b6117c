"""Choice of loggers: metrics.csv always, and Weights & Biases never asks, waits or fails for want of a network."""

import socket

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks.loggers import build_loggers
from callbacks.metrics_csv import MetricsCSV
from callbacks.wandb_run import wandb_mode


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
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


def test_csv_is_always_there(tmp_path):
    assert [type(logger) for logger in build_loggers({"name": "csv"}, tmp_path, "x", None)] == [MetricsCSV]
    csv, board = build_loggers({"name": "tensorboard"}, tmp_path, "x", None)
    assert isinstance(csv, MetricsCSV) and isinstance(board, TensorBoardLogger)
    board.log_metrics({"train/loss": 1.0}, step=1)
    board.finalize("success")
    assert list((tmp_path / "tensorboard").glob("events.*"))
