"""The dashboard shows figures that are logged, under the names that they are logged with."""

import functools
import json
import re
import sys
from types import SimpleNamespace

import pytest
import yaml
from hydra import initialize_config_module

import conf
from callbacks.progress import NAME as SPEED
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.dashboard import main
from genie.evaluation.catalogue import direction
from genie.publishing.dashboard import panels_of
from genie.runs.folder import flatten
from genie.runs.metrics_file import read_metrics

pytestmark = pytest.mark.slow

pytest.importorskip("wandb_workspaces")

# Of the rollouts that are made while the dynamics is trained.
ROLLOUTS = {
    "rollout/fvd_i3d_16f_64v", "rollout/kvd_i3d_16f_64v", "rollout/delta_psnr_t4", "rollout/psnr_h1",
    "rollout/psnr_h10", "rollout/psnr_mean", "rollout/psnr_copy_last_mean", "rollout/psnr_background_mean",
    "media/rollout", "media/action_grid", "media/codebook", "media/confusion", "media/attention",
}  # fmt: skip

# Of a reward model of steps.
REWARDS = {
    "recall_positive", "recall_negative", "precision_positive", "precision_negative", "reward_mse",
    "reward_mse_always_zero", "reward_mse_always_mean", "reward_mean", "reward_mean_true",
    "positive_calibration_error", "terminal_calibration_error", "preference_accuracy", "return_spearman_correlation",
}  # fmt: skip
# Of a policy: an actor with its critic, and a clone.
POLICIES = {
    "imagined_return", "entropy", "value", "value_error", "ended", "actor_loss", "accuracy", "accuracy_majority",
}  # fmt: skip


@pytest.fixture
def command(monkeypatch, run_main, tmp_path):
    """command(*arguments): (exit code, stdout, stderr) of `python -m genie.dashboard` where there is no account."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))

    return functools.partial(run_main, main)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The workspace and the report of a dry run."""
    output = tmp_path_factory.mktemp("dashboard") / "pages.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.setattr(sys, "argv", ["dashboard.py", "dry_run=true", "entity=team", f"output={output}"])
        main()
    return json.loads(output.read_text())


def sections():
    from importlib.resources import files

    return yaml.safe_load(files(conf).joinpath("dashboard.yaml").read_text())["sections"]


def shown(panels):
    """(names, patterns) that panels as they are sent refer to."""
    names, patterns = set(), set()
    for panel in panels:
        config = panel["config"]
        names |= {*config.get("metrics", []), *config.get("mediaKeys", [])}
        names |= {column["accessor"] for column in config.get("columns", [])} | {config.get("targetKey")} - {None}
        patterns |= {config["metricRegex"]} if "metricRegex" in config else set()
    return names, patterns


def by_section(pages):
    """{section: panels} of the workspace, {section: (panels, stages)} of the report."""
    workspace = {
        part["name"]: part["panels"] for part in pages["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    }
    report = {}
    for block in pages["report"]["spec"]["blocks"]:
        if block["type"] == "panel-grid":
            (runs,) = block["metadata"]["runSets"]
            (only,) = runs["filters"]["filters"]
            assert only["key"]["name"] == "jobType"
            report[runs["name"]] = (block["metadata"]["panelBankSectionConfig"]["panels"], only["value"])
    return workspace, report


def test_every_panel_shows_what_the_stages_log(pages, world_run):
    logged = {}
    for stage in ("tokenizer", "lam", "dynamics"):
        logged[stage] = {name for row in read_metrics(world_run / stage / "metrics.csv") for name in row} | {SPEED}
    logged["reward"] = {f"val/{name}" for name in REWARDS} | {"train/loss", "val/loss"}
    logged["policy"] = {f"{split}/{name}" for name in POLICIES for split in ("train", "val")}
    everything = set().union(*logged.values(), ROLLOUTS)
    workspace, report = by_section(pages)
    assert list(workspace) == list(report) == [section["name"] for section in sections()]
    for section in sections():
        panels, stages = report[section["name"]]
        assert stages == section["stages"]
        of_its_stages = set().union(*(logged.get(stage, set()) for stage in stages), ROLLOUTS)
        for names, patterns in (shown(panels), shown(workspace[section["name"]])):
            summaries = {name.removeprefix("summary:") for name in names if re.search(r"\.(min|max)$", name)}
            plain = {name for name in names if not name.startswith(("config:", "summary:"))} - summaries
            assert plain and plain <= of_its_stages, section["name"]
            for name in summaries:
                metric, kept = name.rsplit(".", 1)
                assert metric in of_its_stages and direction(metric) == kept
            for pattern in patterns:
                assert any(re.fullmatch(pattern, name) for name in everything), pattern


def test_what_is_asked_for_is_there(pages):
    found = [shown(panels) for panels in by_section(pages)[0].values()]
    names, patterns = set().union(*(names for names, _ in found)), set().union(*(patterns for _, patterns in found))
    for name in (
        "rollout/delta_psnr_t4", "rollout/psnr_copy_last_mean", "rollout/psnr_background_mean", "val/codebook_usage",
        "val/action_nmi", "train/learning_rate", "train/clips_per_second", "media/rollout", "media/action_grid",
    ):  # fmt: skip
        assert name in names
    assert "rollout/fvd_.*" in patterns
    kinds = {panel["viewType"] for panels in by_section(pages)[0].values() for panel in panels}
    assert kinds == {"Run History Line Plot", "Media Browser", "Parallel Coordinates Plot", "Parameter Importance"}


def test_searches_show_keys_of_the_runs_configuration(pages):
    keys = set()
    for stage in ("tokenizer", "lam", "dynamics"):
        with initialize_config_module("conf", version_base="1.3"):
            keys |= set(flatten(resolved("train", [f"stage={stage}"])))
    for panels in by_section(pages)[0].values():
        searched = {name.removeprefix("config:") for name in shown(panels)[0] if name.startswith("config:")}
        assert {name.replace(".value.", ".") for name in searched} <= keys


def test_panels_do_not_lie_on_each_other(pages):
    workspace, report = by_section(pages)
    for panels in (*workspace.values(), *(panels for panels, _ in report.values())):
        places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in panels]
        assert len(set(places)) == len(places)


def test_without_an_account_one_line_says_what_is_missing(command, monkeypatch):
    code, out, err = command()
    assert (code, out) == (2, "") and err.count("\n") == 1 and "there is no key" in err and "dry_run=true" in err
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    code, out, err = command()
    assert (code, out) == (2, "") and err.count("\n") == 1 and "no connection to 127.0.0.1" in err


def test_without_the_extra_one_line_says_how_to_get_it(command, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = command("dry_run=true")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "pip install 'genie-world[dashboards]'" in err


def test_both_pages_are_made_for_the_account_and_their_addresses_said(command, monkeypatch):
    import wandb
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    def save(page):
        return SimpleNamespace(url=f"https://example/{page.entity}/{page.project}/{type(page).__name__}")

    monkeypatch.setattr("genie.publishing.dashboard.wandb_missing", lambda: None)
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(default_entity="me"))
    monkeypatch.setattr(ws.Workspace, "save", save)
    monkeypatch.setattr(wr.Report, "save", save)
    code, out, err = command("project=pong")
    assert (code, err) == (0, "")
    assert out == "workspace: https://example/me/pong/Workspace\nreport: https://example/me/pong/Report\n"
    assert command("project=pong", "report=false", "entity=team")[1] == (
        "workspace: https://example/team/pong/Workspace\n"
    )


def test_a_server_that_refuses_is_one_line(command, monkeypatch):
    import wandb

    def refuse(*_, **__):
        raise wandb.errors.CommError("permission denied")

    monkeypatch.setattr("genie.publishing.dashboard.wandb_missing", lambda: None)
    monkeypatch.setattr(wandb, "Api", refuse)
    code, _, err = command()
    assert code == 2 and err.count("\n") == 1 and "CommError: permission denied" in err


def test_a_panel_of_no_kind_is_refused():
    with pytest.raises(UserError, match="a panel of S needs one of metrics, regex, media, search"):
        panels_of({"name": "S", "panels": [{"title": "x", "metric": ["val/loss"]}]})
