"""Sweeper whose jobs are chosen by Optuna (`hydra/sweeper=optuna`).

Hydra looks for plugins in this package. hydra-optuna-sweeper on PyPI needs an Optuna before 3; the syntax of the search
space is the same: choice, range, interval, int, tag(log, ...). The study is kept in the sweep's folder, so a killed
sweep can be resumed.
"""

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from genie.common.errors import UserError
from genie.common.settings.kinds import Range
from genie.evaluation.catalogue import chosen_direction
from genie.training.sweeps import HOW_TO_START

if TYPE_CHECKING:
    import optuna

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "gp": "GPSampler"}
JOURNAL = "optuna.log"


class OptunaSweeper(Sweeper):
    """The options are those of conf/hydra/sweeper/optuna.yaml; for a key of its `params` the command line wins."""

    def __init__(self, **options: Any):
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs trials until there are `num_trials`; interrupted ones are resumed first."""
        self.check()
        try:
            import optuna
        except ImportError as error:
            raise UserError("this search needs Optuna: pip install 'genie-world[sweeps]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(
            [*(f"{key}={value}" for key, value in self.options["params"].items()), *arguments]
        )
        chosen = {override.get_key_element(): override for override in overrides}  # the last one wins
        searched = {key: distribution(override) for key, override in chosen.items() if override.is_sweep_override()}
        fixed = [override.input_line for override in chosen.values() if not override.is_sweep_override()]
        if not searched:
            raise UserError(
                "there is nothing to search: give hydra.sweeper.params, or optimizer.lr=interval(1e-4,1e-2)"
            )
        study = self.open_study(optuna)
        for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
            if trial.params.keys() == searched.keys():
                self.run(study, [trial], fixed)
            else:  # killed before all of its parameters were drawn
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        while len(study.trials) < self.options["num_trials"]:
            count = min(self.options["batch_size"], self.options["num_trials"] - len(study.trials))
            self.run(study, [self.ask(optuna, study, searched) for _ in range(count)], fixed)

    def check(self) -> None:
        """Raises `UserError` for the first invalid option."""
        options = self.options
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise UserError("a search chooses its jobs in one process: start it without torchrun, with launcher=local")
        for name in ("num_trials", "batch_size"):
            Range(1).require(f"hydra.sweeper.{name}", options[name])
        if options["sampler"] not in SAMPLERS:
            raise UserError(f"hydra.sweeper.sampler={options['sampler']} must be one of: {', '.join(SAMPLERS)}")
        self.mode = chosen_direction(options["direction"], options["objective"], "hydra.sweeper.direction")

    def open_study(self, optuna: Any) -> "optuna.Study":
        """The study in the sweep's folder. Raises `UserError` for an existing one without resume or overwrite."""
        folder = Path(self.config.hydra.sweep.dir)
        if (folder / JOURNAL).exists():
            if self.config.overwrite:
                (folder / JOURNAL).unlink()
            elif not self.config.resume:
                raise UserError(f"{folder} holds a sweep already: {HOW_TO_START}")
        folder.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL)))
        return optuna.create_study(
            study_name="sweep", storage=storage, direction=f"{self.mode}imize", load_if_exists=True
        )

    def ask(self, optuna: Any, study: "optuna.Study", searched: dict[str, Any]) -> "optuna.Trial":
        """The next trial, a function of the seed, its number and the results before it."""
        from genie.common.random import fold_in  # with torch, for which --help need not wait

        options: dict[str, Any] = {"seed": fold_in(self.options["seed"], len(study.trials)) % 2**32}
        if self.options["sampler"] == "tpe":  # simultaneous trials keep away from each other
            options["constant_liar"] = self.options["batch_size"] > 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = getattr(optuna.samplers, SAMPLERS[self.options["sampler"]])(**options)
        return study.ask(searched)

    def run(self, study: "optuna.Study", trials: Sequence[Any], fixed: list[str]) -> None:
        """Runs trials with successive numbers, which are those of their jobs, and adds the results to the study."""
        from optuna.trial import TrialState

        jobs = [[*fixed, *(f"{key}={value}" for key, value in trial.params.items())] for trial in trials]
        self.validate_batch_is_legal(jobs)
        results = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
        for trial, result in zip(trials, results, strict=True):
            value = result.return_value
            good = isinstance(value, float) and math.isfinite(value)
            # Optuna does not learn from jobs that failed or diverged
            study.tell(trial.number, value if good else None, state=None if good else TrialState.FAIL)


def distribution(override: Override) -> Any:
    """Optuna's distribution of a sweep of the command line. Values other than numbers are text to Optuna."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    log = "log" in value.tags
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        return (IntDistribution if whole else FloatDistribution)(value.start, value.end, log=log)
    choices = list(override.sweep_string_iterator())
    if isinstance(value, RangeSweep) and all(
        isinstance(number, int) for number in (value.start, value.stop, value.step)
    ):
        numbers = sorted(int(choice) for choice in choices)
        return IntDistribution(numbers[0], numbers[-1], step=abs(value.step))
    return CategoricalDistribution(choices)
