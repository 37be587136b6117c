"""A loss that is no number: named, kept out of the weights, and decided alike in a resumed run."""

import pytest
import torch
from torch import nn

from callbacks.bad_steps import BadSteps
from genie.common.errors import RunError
from genie.runs.metrics_file import read_metrics

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def guarded(training):
    """guarded(folder, bad, policy, …): trains with batch k's loss multiplied by `bad[k]`; a batch norm sees it too."""
    fit, Model = training

    class Guarded(Model):
        def __init__(self, bad):
            super().__init__()
            self.bad, self.norm = bad, nn.BatchNorm1d(48)

        def training_step(self, batch, batch_idx):
            factor = self.bad.get(self.trainer.fit_loop.epoch_loop.total_batch_idx, 1.0)
            self.norm(batch["frames"].float().flatten(2).flatten(0, 1) * factor)
            return super().training_step(batch, batch_idx) * factor

    def run(folder, bad, policy, resume=False, at_step=None, explosion_factor=None, **settings):
        model = Guarded(bad)
        model.at_step = at_step or {}
        limits = {"max_in_a_row": 2, "max_rollbacks": 2, "explosion_factor": explosion_factor, "window": 3}
        limits |= {name: settings.pop(name) for name in list(settings) if name in limits}

        def build(last):
            return [BadSteps(last, policy, **limits)]

        fit(folder, model, resume=resume, callbacks=build, **settings)
        return model

    return run


def text_of(folder):
    return (folder / "metrics.csv").read_text()


def steps(folder):
    return [row["step"] for row in read_metrics(folder / "metrics.csv") if "train/loss" in row]


@pytest.mark.parametrize("factor", [NAN, INF])
def test_stop_names_the_step_the_clips_and_the_gradient_and_keeps_the_state_before(guarded, tmp_path, factor):
    with pytest.raises(RunError) as raised:
        guarded(tmp_path, {7: factor}, "stop")
    message = str(raised.value)
    assert message.startswith("step 8: the loss is ") and "\n" not in message
    assert "first gradient that is not finite: model.1.weight (parameter group 0, weight decay 0.01)" in message
    clips = message.partition("training clips [")[2].partition("]")[0].split(", ")
    assert len(set(clips)) == 4 and all(0 <= int(clip) < 22 for clip in clips)
    assert "last.ckpt holds step 6" in message
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == 6 and all(value.isfinite().all() for value in state["state_dict"].values())


def test_a_gradient_alone_is_enough(guarded, tmp_path):
    """1e38 times a loss of some tenths is a number, its gradient's norm is none."""
    with pytest.raises(RunError, match=r"step 4: the norm of the gradients is inf \(loss"):
        guarded(tmp_path, {3: 1e38}, "stop")


@pytest.mark.parametrize(("bad", "settings"), [(4, {}), (8, {"accumulate_grad_batches": 2, "max_steps": 6})])
def test_a_skipped_step_changes_nothing_but_the_count(guarded, tmp_path, capsys, bad, settings):
    """Step 5; with two batches to a step and five to an epoch it has the batches 7 and 8."""
    states = {}

    def note(name):
        def look():
            states[name] = torch.load(tmp_path / "last.ckpt", weights_only=True)

        return look

    at_step = {4: note("before"), 5: note("after")}
    model = guarded(tmp_path, {bad: NAN}, "skip", at_step=at_step, every_n_train_steps=1, **settings)
    before, after = states["before"], states["after"]
    assert (before["global_step"], after["global_step"]) == (4, 5)
    for name, value in before["state_dict"].items():
        assert torch.equal(value, after["state_dict"][name]), name
    assert after["lr_schedulers"][0]["last_epoch"] == 5
    assert all(parameter.isfinite().all() for parameter in model.state_dict().values())
    assert "step 5: " in capsys.readouterr().err


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("crash", [5, 9])
def test_a_resumed_run_decides_the_same(guarded, tmp_path, policy, crash):
    """Killed before the bad step, in which it is resumed, and after it."""
    bad = {7: NAN, 10: INF}
    whole = guarded(tmp_path / "whole", bad, policy)

    def die():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guarded(tmp_path / "parts", bad, policy, at_step={crash: die})
    parts = guarded(tmp_path / "parts", bad, policy, resume=True)
    assert text_of(tmp_path / "parts") == text_of(tmp_path / "whole")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_too_many_in_a_row_are_an_error_and_some_apart_are_not(guarded, tmp_path):
    guarded(tmp_path / "apart", {2: NAN, 3: NAN, 5: NAN, 6: NAN}, "skip")
    with pytest.raises(RunError, match=r"step 5: .*2 steps before it were skipped"):
        guarded(tmp_path / "row", {2: NAN, 3: NAN, 4: NAN}, "skip")


def test_a_rollback_takes_other_batches_from_the_checkpoint_on(guarded, tmp_path, capsys):
    """Steps 7 and 8 are taken anew, with the batches that follow the bad one."""
    fine = guarded(tmp_path / "fine", {}, "stop")
    model = guarded(tmp_path / "back", {7: NAN}, "rollback", limit_val_batches=0)
    assert steps(tmp_path / "back") == list(range(1, 13))  # no row twice, none of the bad step
    assert "going back to step 6" in capsys.readouterr().err
    state = torch.load(tmp_path / "back" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 12
    progress = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
    assert progress["processed"] == 12 + 2  # batches 6 and 7 were passed over
    assert state["lr_schedulers"][0]["last_epoch"] == 12
    moments = state["optimizer_states"][0]["state"][0]
    assert moments["step"] == 12  # the optimiser went back too
    assert all(parameter.isfinite().all() for parameter in model.state_dict().values())
    assert any(not torch.equal(a, b) for a, b in zip(fine.parameters(), model.parameters(), strict=True))


def test_rollbacks_have_an_end(guarded, tmp_path):
    with pytest.raises(RunError, match="2 rollbacks before it"):
        guarded(tmp_path / "many", {4: NAN, 5: NAN, 6: NAN}, "rollback")
    with pytest.raises(RunError, match="nothing is saved yet"):
        guarded(tmp_path / "early", {1: NAN}, "rollback")


def test_a_rollback_is_counted_in_the_whole_run_not_in_each_start(guarded, tmp_path):
    """Saved behind a rollback, killed, resumed: the next one is one too many."""
    bad = {7: NAN, 15: NAN}
    guarded(tmp_path, bad, "rollback", max_rollbacks=1)  # the second one lies behind the last step
    with pytest.raises(RunError, match="1 rollbacks before it"):
        guarded(tmp_path, bad, "rollback", max_rollbacks=1, resume=True, max_steps=16)


def test_an_exploding_loss_is_bad_where_it_is_asked_for(guarded, tmp_path):
    bad = {7: 50.0}
    guarded(tmp_path / "off", bad, "stop")
    with pytest.raises(RunError, match=r"step 8: the loss is .* times the median of the last 3 steps"):
        guarded(tmp_path / "on", bad, "stop", explosion_factor=20)
    guarded(tmp_path / "less", bad, "stop", explosion_factor=80)
