"""The bar counts the steps of the run, and a log file gets plain lines, few of them."""

import io
import re

from rich.console import Console

from callbacks.progress import StepProgress, clock


def test_a_file_gets_a_line_in_a_while_with_step_loss_speed_and_time_left(tmp_path, training, capsys):
    fit, model = training
    fit(tmp_path, model(), callbacks=[StepProgress("pong lam", line_seconds=0)], enable_progress_bar=True)
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if "clips/s" in line]
    assert len(steps) == 12  # line_seconds=0: one for each step
    pattern = r"pong lam step 5/12  loss \d\.\d+  [\d.]+ clips/s  ETA 0:00:0\d"
    assert re.fullmatch(pattern, steps[4])
    assert any(re.match(r"pong lam step 8/12  val/loss \d", line) for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_quiet_between_two_lines(tmp_path, training, capsys):
    fit, model = training
    progress = StepProgress("pong lam", line_seconds=1000)
    fit(tmp_path, model(), callbacks=[progress], limit_val_batches=0, enable_progress_bar=True)
    assert capsys.readouterr().out == ""


def test_a_resumed_run_counts_from_where_it_was(tmp_path, training):
    fit, model = training
    fit(tmp_path, model(), max_steps=6)
    progress = StepProgress("pong lam", refresh_seconds=0)
    screen = io.StringIO()
    progress.console = Console(file=screen, force_terminal=True, width=120)
    fit(tmp_path, model(), resume=True, callbacks=[progress], enable_progress_bar=True)
    counts = [int(step) for step in re.findall(r"(\d+)/12", screen.getvalue())]
    assert min(counts) == 6 and max(counts) == 12


def test_a_cell_of_a_notebook_gets_lines(tmp_path, training, monkeypatch, capsys):
    fit, model = training
    monkeypatch.setenv("JPY_PARENT_PID", "1")  # of Jupyter's kernels and what they start
    progress, screen = StepProgress("pong lam", line_seconds=0, refresh_seconds=0), io.StringIO()
    progress.console = Console(file=screen, force_terminal=True, width=120)
    fit(tmp_path, model(), callbacks=[progress], enable_progress_bar=True)
    assert screen.getvalue() == "" and "pong lam step 12/12" in capsys.readouterr().out


def test_of_figures_by_horizon_a_validation_prints_the_last(tmp_path, training, capsys):
    fit, model = training

    class Far(model):
        def on_validation_epoch_end(self):
            for step in range(1, 11):
                self.log(f"val/imagined_psnr_h{step}", 30.0 - step)
                self.log(f"val/imagined_psnr_copy_last_h{step}", 20.0 - step)
            self.log("val/imagined_psnr_mean", 24.5)

    fit(tmp_path, Far(), callbacks=[StepProgress("pong simulator", line_seconds=1000)], enable_progress_bar=True)
    line = next(line for line in capsys.readouterr().out.splitlines() if "val/loss" in line)
    assert re.findall(r"val/imagined_psnr_(\w+) (\S+)", line) == [
        ("h10", "20"), ("copy_last_h10", "10"), ("mean", "24.5")]  # fmt: skip


def test_clock():
    assert [clock(0), clock(59.6), clock(3725), clock(360000)] == ["0:00:00", "0:01:00", "1:02:05", "100:00:00"]
