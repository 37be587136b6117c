"""Clips per second: what was trained on, over the time that training took."""

from lightning.pytorch.loggers import Logger

from callbacks import progress
from callbacks.metrics_csv import MetricsCSV
from callbacks.progress import Throughput


class Memory(Logger):
    name, version = "memory", 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, params):
        pass

    def log_metrics(self, metrics, step):
        self.rows.append((step, metrics))

    def sync(self):
        pass


def test_the_speed_is_of_training_alone(tmp_path, training, monkeypatch):
    fit, model = training
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    slow, memory = model(), Memory()
    for step in range(6):  # a step of 4 clips takes half a second, a validation a thousand
        slow.at_step[step] = lambda: seconds.__setitem__(0, seconds[0] + 0.5)
    slow.at_validation[4] = lambda: seconds.__setitem__(0, seconds[0] + 1000)

    class WithMemory(Throughput):
        def on_train_start(self, trainer, module):
            trainer.loggers = [*trainer.loggers, memory]
            super().on_train_start(trainer, module)
            assert not any(isinstance(logger, MetricsCSV) for logger in self.loggers)

    fit(tmp_path, slow, max_steps=6, callbacks=[WithMemory()])
    logged = [(step, metrics[progress.NAME]) for step, metrics in memory.rows if progress.NAME in metrics]
    assert logged == [(step, 8.0) for step in range(6)]
