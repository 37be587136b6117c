"""Rendezvous of the processes of a training: shared configuration, preparation by the first one.

The first process validates everything, records, opens the run folder and prints. The others wait for it, take its
configuration and start in the folder as it left it; where it fails, they exit silently.
"""

import atexit
import itertools
import json
import os
import time
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, TorchElasticEnvironment

from genie.common.errors import SilentExit
from genie.common.process import TRAINING, end_with_parent, on_first_rank
from genie.distributed.launch import RankLauncher, layout

ADDRESS = ("MASTER_ADDR", "MASTER_PORT")  # where the processes meet
WAIT_SECONDS = 0.2  # between two checks whether the first process is ready
FAILED = "failed"

trainings = itertools.count()  # of this process: all processes of a launcher run the same jobs in the same order


class Ranks:
    """Context manager around the training of a configuration on one or more processes.

    Raises UserError where the devices or the launcher do not match the groups `trainer` and `launcher`.

    Attributes: `rank`, `world_size`, `num_devices` (on each machine), `num_nodes`; `config`: that of the first process.
    """

    def __init__(self, config: dict[str, Any]):
        end_with_parent()
        self.number = os.environ.get(TRAINING) or str(next(trainings))
        self.config, self.launcher = config, config["launcher"]["name"]
        with on_first_rank():
            self.num_devices, self.num_nodes = layout(config["trainer"], self.launcher)
        self.world_size = self.num_devices * self.num_nodes
        if self.launcher == "local":
            here = int(os.environ.get("LOCAL_RANK", 0))
            self.rank = int(os.environ.get("NODE_RANK", 0)) * self.num_devices + here if self.world_size > 1 else 0
        else:
            self.rank = int(os.environ["RANK"])
        self.former = {name: os.environ.get(name) for name in ADDRESS}
        self.processes: RankLauncher | None = None
        self.store: dist.Store | None = None
        self.announced = False

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def __enter__(self) -> "Ranks":
        if self.world_size > 1:
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's store outlives its restarts
            self.store = dist.PrefixStore(f"training {self.number} attempt {attempt}", self._meet())
            if not self.is_first:
                self.config = self._receive()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._announce(kind is not None)
        failed = kind is not None and issubclass(kind, Exception)
        if self.processes is not None and failed:
            self.processes.end(failed)
        if self.launcher == "local":  # the next job of a sweep starts processes of its own
            leave()
            for name, value in self.former.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
        if self.processes is not None and not failed:
            self.processes.end(failed)
        self.store = None

    def print(self, text: str) -> None:
        """A line from the first process alone."""
        if self.is_first:
            print(text, flush=True)

    def open(self) -> None:
        """Lets the other processes start, after the first one has done the preparation."""
        self._announce(failed=False)

    @property
    def environment(self) -> ClusterEnvironment:
        """The source of ranks and addresses for Lightning: the configured launcher, not one that it detects."""
        return LightningEnvironment() if self.launcher == "local" else TorchElasticEnvironment()

    def attach(self, trainer: L.Trainer) -> L.Trainer:
        """The trainer with a launcher that starts its processes as jobs of Hydra."""
        strategy = trainer.strategy
        if self.launcher == "local" and strategy.launcher is not None:
            strategy._launcher = self.processes = RankLauncher(
                strategy.cluster_environment, self.num_devices, self.num_nodes, self.number
            )
            assert strategy.launcher is self.processes, "Lightning keeps its launcher elsewhere"
        elif self.world_size > 1:
            atexit.register(leave)
        return trainer

    def _meet(self) -> dist.Store:
        """The store by which the processes communicate before they train; Lightning's group uses its address, too."""
        if self.launcher == "local" and self.is_first and self.num_nodes == 1:
            store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, multi_tenant=True)
            os.environ.update(zip(ADDRESS, ("127.0.0.1", str(store.port)), strict=True))
            return store
        host, port = (os.environ[name] for name in ADDRESS)
        serves = self.is_first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # else torchrun serves it
        return dist.TCPStore(host, int(port), is_master=serves, wait_for_workers=False, multi_tenant=True)

    def _announce(self, failed: bool) -> None:
        """Sends the configuration, or the failure, of the first process to the others, once."""
        if not self.is_first or self.store is None or self.announced:
            return
        # the others resume the run that the first one has begun
        word = FAILED if failed else json.dumps(self.config | {"resume": True, "overwrite": False})
        self.store.set("word", word)
        self.announced = True

    def _receive(self) -> dict[str, Any]:
        while not self.store.check(["word"]):  # not `wait`, which Ctrl-C does not interrupt
            time.sleep(WAIT_SECONDS)
        word = self.store.get("word").decode()
        if word == FAILED:
            raise SilentExit("the first process has failed")
        return json.loads(word)


def leave() -> None:
    """Destroys the process group: at exit, gloo's threads may abort a process that has one."""
    if dist.is_initialized():
        dist.destroy_process_group()
