"""MLflow logger of a run: curves, pictures, videos and tables as artifacts, hyperparameters and tags.

Without a server everything is in the file mlflow.db (SQLite) and the folder mlartifacts beside it. Unlike Lightning's
own logger it opens nothing before training begins, collects points, goes on in a run whose configuration has changed,
and keeps training where the store fails.
"""

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from callbacks.points import Points, log_former
from genie.common.errors import UserError, reason, warn
from genie.common.folder_lock import one_writer
from genie.common.network import unreachable
from genie.common.profiling import PACKAGES, software_versions
from genie.runs.folder import flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
WAIT_SECONDS = 5.0  # that points wait for others: a transaction takes as long as a step of a small model
LONGEST_PAUSE = 600.0  # seconds without another attempt, after attempts that failed: each holds the training up
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # else four minutes an attempt
MOST_POINTS, MOST_PARAMS, MOST_TAGS = 1000, 100, 100  # of one request
LONGEST = 5000  # characters of a value
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its page is one of language models otherwise
# loggers: tables of the database, and tracebacks of what is said in a line here
NOISY = ("mlflow", "alembic", "urllib3")
SECRET = re.compile(r"(?<=://)[^/@]*@")  # name and password in an address
ODD = re.compile(r"[^\w\-./: ]", re.ASCII)  # what names may not hold


def store(settings: dict[str, Any]) -> str:
    """The address of the store. UserError where it is a server that does not answer."""
    key = "logger.mlflow.tracking_uri" if settings["tracking_uri"] else "MLFLOW_TRACKING_URI"
    given = settings["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")
    own = Path(settings["folder"], DATABASE)
    if not given:
        from sqlalchemy import URL  # of mlflow: a path may hold a ? or a %

        return URL.create("sqlite", database=str(own)).render_as_string()
    if given.startswith(("http:", "https:")) and (problem := unreachable(given)):
        raise UserError(f"{key}={shown(given)}: the server does not answer ({problem}); without one it is {own}")
    return given


def shown(address: str) -> str:
    """An address without what is secret in it."""
    return SECRET.sub("***@", address)


class MlflowRunLogger(Logger):
    """Logs into the run `run_id` of the store `uri`, a new one where that is None or is not there any more.

    Args:
        settings: the group `logger.mlflow`.
        label: the run's name.
        former: rows of metrics.csv up to the step that a run goes on from; what of them is not in the store, which may
            have failed or be a new one, is written to it.
    """

    name = name_of_group = "mlflow"

    def __init__(
        self,
        uri: str,
        settings: dict[str, Any],
        label: str,
        run_id: str | None = None,
        former: Sequence[dict[str, float]] = (),
    ) -> None:
        super().__init__()
        self.uri, self.settings, self.label = uri, settings, label
        self.run_id, self.former = run_id, former
        self.points = Points()
        self.waiting: list[Any] = []  # points that are not in the store yet
        self.has_failed = False
        self.written, self.pause, self.not_before = time.monotonic(), WAIT_SECONDS, 0.0
        self._client: MlflowClient | None = None

    @property
    def version(self) -> str:
        return self.run_id or ""

    @property
    @rank_zero_experiment
    def experiment(self) -> "MlflowClient":
        """The client, with the run made or found at the first use."""
        if self._client is None:
            for name, value in PATIENCE.items():
                os.environ.setdefault(name, value)
            with self._alone():
                from mlflow import MlflowClient

                for noisy in NOISY:
                    logging.getLogger(noisy).setLevel(logging.CRITICAL)
                try:
                    client = MlflowClient(self.uri)
                    self._open(client)
                except UserError:
                    raise
                except Exception as error:  # of the database, the server or the disk
                    raise UserError(
                        f"logger=mlflow: {shown(self.uri)} cannot be used ({self._reason(error)})"
                    ) from error
            self._client = client
        return self._client

    def _alone(self) -> AbstractContextManager[Any]:
        """Runs that begin together make the tables of a database of their own one after the other."""
        if not self.uri.startswith("sqlite:"):
            return nullcontext()
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a local store needs no network
        place = Path(self.settings["folder"], DATABASE)
        return one_writer(place, "logger.mlflow.folder=", wait=True, beside=True)

    def _open(self, client: "MlflowClient") -> None:
        from mlflow.exceptions import MlflowException

        if self.run_id is not None:
            try:
                run = client.get_run(self.run_id)
                if run.info.lifecycle_stage != "active":
                    raise MlflowException("it was deleted")
                client.update_run(self.run_id, status="RUNNING")
                histories = ((name, client.get_metric_history(self.run_id, name)) for name in run.data.metrics)
                self.points = Points((point.step, name) for name, history in histories for point in history)
                return
            except MlflowException as error:
                warn(f"{shown(self.uri)} has no run {self.run_id} any more ({self._reason(error)}): a new one begins")
        tags = {"mlflow.source.name": "genie.train", "group": self.settings["group"] or ""}
        self.run_id = client.create_run(self._experiment(client), tags=tags, run_name=self.label).info.run_id

    def _experiment(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        name = self.settings["experiment"]
        local = self.uri.startswith("sqlite:")
        place = Path(self.settings["folder"], ARTIFACTS).absolute().as_uri() if local else None
        for _ in range(2):
            if found := client.get_experiment_by_name(name):
                if found.lifecycle_stage == "deleted":
                    client.restore_experiment(found.experiment_id)
                return found.experiment_id
            try:
                return client.create_experiment(name, artifact_location=place, tags=KIND)
            except MlflowException as error:  # another run has made it in between
                why = self._reason(error)
        raise UserError(f"logger.mlflow.experiment={name[:100]} could not be made in {shown(self.uri)} ({why})")

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """The keys of the command line as parameters, versions as tags. Parameters of MLflow cannot be changed: what
        differs in a resumed run becomes a tag."""
        self.experiment  # noqa: B018 (what cannot be opened ends the training before it begins)
        log_former(self, self.former)
        try:
            self._log_parameters(params)
        except Exception as error:
            self._failed(error)

    def _log_parameters(self, params: dict[str, Any]) -> None:
        from mlflow.entities import Param, RunTag

        there = self.experiment.get_run(self.run_id).data.params
        given = {ODD.sub("_", key): str(value)[:LONGEST] for key, value in flatten(params["config"]).items()}
        new = [Param(key, value) for key, value in given.items() if key not in there]
        tags = {f"versions.{name}": version for name, version in software_versions((*PACKAGES, "mlflow")).items()}
        tags |= {f"resumed.{key}": value for key, value in given.items() if there.get(key, value) != value}
        for start in range(0, len(new), MOST_PARAMS):
            self.experiment.log_batch(self.run_id, params=new[start : start + MOST_PARAMS])
        listed = [RunTag(key, value) for key, value in tags.items()]
        for start in range(0, len(listed), MOST_TAGS):
            self.experiment.log_batch(self.run_id, tags=listed[start : start + MOST_TAGS])

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Keeps the points of a step, and writes them all every few seconds. Infinite values become the largest number,
        as MLflow stores them."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.experiment  # noqa: B018 (a resumed run learns which points it has)
        new = self.points.new({ODD.sub("_", name): value for name, value in metrics.items()}, step)
        self.waiting += [Metric(name, float(value), now, step) for name, value in new.items()]
        if time.monotonic() - self.written > WAIT_SECONDS:
            self.sync()

    @rank_zero_only
    def sync(self) -> None:
        """Writes what waits. Where the store fails it waits on, for longer each time, and a line says so once."""
        self.written = time.monotonic()
        while self.waiting and self._is_tried:
            try:
                self.experiment.log_batch(self.run_id, metrics=self.waiting[:MOST_POINTS])
            except Exception as error:  # of the database or the network: no reason to end a training
                self._failed(error)
                return
            del self.waiting[:MOST_POINTS]
            self.pause = WAIT_SECONDS

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """An artifact <name>/step_<n>, n as in the run folder: steps done."""
        if not self._is_tried:
            return
        try:
            with tempfile.TemporaryDirectory() as folder:  # an artifact has the name of its file
                file = shutil.copy(path, Path(folder, f"step_{step + 1}{path.suffix}"))
                self.experiment.log_artifact(self.run_id, str(file), name)
        except Exception as error:
            self._failed(error)

    log_video = log_picture

    def log_table(self, name: str, columns: list[str], rows: list[list[str]], step: int) -> None:
        """An artifact <name>.csv."""
        if not self._is_tried:
            return
        try:
            lines = [",".join(line) for line in (columns, *rows)]
            self.experiment.log_text(self.run_id, "\n".join(lines) + "\n", f"{name}.csv")
        except Exception as error:
            self._failed(error)

    def go_back(self, step: int) -> None:
        """MLflow takes no point back: steps that are trained anew are there twice."""
        self.points.go_back()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._client is None:
            return
        self.not_before = 0.0  # once more
        self.sync()
        if not self._is_tried:
            return
        try:
            self._client.set_terminated(self.run_id, "FINISHED" if status == "success" else "FAILED")
        except Exception as error:
            self._failed(error)

    @property
    def _is_tried(self) -> bool:
        """Whether it is time for an attempt: each that fails may take many seconds."""
        return time.monotonic() >= self.not_before

    def _failed(self, error: Exception) -> None:
        if not self.has_failed:
            why = self._reason(error)
            warn(f"MLflow at {shown(self.uri)} failed ({why}): training goes on, metrics.csv has all of it")
        self.has_failed = True
        self.not_before = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE)

    def _reason(self, error: Exception) -> str:
        return shown(reason(error))[:200]
