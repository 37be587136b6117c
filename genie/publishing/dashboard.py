"""Weights & Biases dashboard of conf/dashboard.yaml: a workspace, and a report with the same panels.

In the workspace all runs share the panels; in the report each section shows the runs of its own stages.
"""

import importlib.util
import json
from typing import Any

from hydra import compose

from callbacks.wandb_run import X_AXIS, wandb_missing
from genie.common.errors import UserError
from genie.common.files import replacing
from genie.common.folder_lock import require_writable
from genie.common.settings.commands import DashboardConfig
from genie.evaluation.catalogue import direction

KINDS = ("metrics", "regex", "media", "search")


def make_dashboard(config: DashboardConfig) -> None:
    """Creates workspace and report, or with `dry_run` writes or prints them as JSON without any network. Raises
    `UserError` where the extra, a key or the server is missing."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("a dashboard needs wandb-workspaces: pip install 'genie-world[dashboards]'")
    if config.dry_run:
        if config.output is not None:
            require_writable(config.output, "output=")
        found = {name: as_json(page) for name, page in pages(config, config.entity or "").items()}
        text = json.dumps(found, indent=2)
        if config.output is None:
            print(text)
            return
        with replacing(config.output, "w") as file:
            file.write(text + "\n")
        print(f"dashboard as JSON: {config.output}")
        return
    missing = wandb_missing()
    if missing:
        raise UserError(f"Weights & Biases cannot be reached, there is no {missing}; try dry_run=true")
    import wandb

    try:
        for name, page in pages(config, config.entity or wandb.Api().default_entity).items():
            print(f"{name}: {page.save().url}")
    except UserError:
        raise
    except Exception as error:  # the package raises anything: its own errors, those of requests, plain Exception
        raise UserError(f"Weights & Biases refused the dashboard ({type(error).__name__}: {error})") from error


def pages(config: DashboardConfig, entity: str) -> dict[str, Any]:
    """{"workspace": …, "report": …}, not yet saved; the latter only with `report`."""
    makers = {"workspace": workspace, "report": report} if config.report else {"workspace": workspace}
    return {name: make(config, entity) for name, make in makers.items()}


def as_json(page: Any) -> dict[str, Any]:
    return json.loads(page._to_model().model_dump_json(by_alias=True, exclude_none=True))


def workspace(config: DashboardConfig, entity: str) -> Any:
    """The workspace of a configuration, not yet saved."""
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(name=section["name"], panels=panels_of(section), is_open=True) for section in config.sections
    ]
    settings = ws.WorkspaceSettings(x_axis=X_AXIS)
    return ws.Workspace(entity, config.project, config.title, sections=sections, settings=settings)


def report(config: DashboardConfig, entity: str) -> Any:
    """The report of a configuration, not yet saved."""
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.TableOfContents()]
    for section in config.sections:
        # no entity and project: the report's own
        runs = wr.Runset(name=section["name"], filters=f"JobType in {section['stages']}")
        blocks += [
            wr.H1(section["name"]),
            wr.P(section["about"]),
            wr.PanelGrid(runsets=[runs], panels=panels_of(section)),
        ]
    return wr.Report(project=config.project, entity=entity, title=config.title, blocks=blocks, width="fluid")


def panels_of(section: dict[str, Any]) -> list[Any]:
    """The panels of a section of conf/dashboard.yaml; UserError for one of an unknown kind."""
    import wandb_workspaces.reports.v2 as wr

    panels: list[Any] = []
    for panel in section["panels"]:
        kinds = [kind for kind in KINDS if kind in panel]
        if len(kinds) != 1:
            raise UserError(
                f"sections: a panel of {section['name']} needs one of {', '.join(KINDS)}, not {sorted(panel)}"
            )
        if kinds == ["media"]:
            panels.append(wr.MediaBrowser(title=panel["title"], media_keys=panel["media"], num_columns=1))
        elif kinds == ["search"]:
            panels += search_panels(panel["search"])
        else:
            curves = {"y": panel["metrics"]} if kinds == ["metrics"] else {"metric_regex": panel["regex"]}
            log_y = panel.get("log_y", False)
            panels.append(wr.LinePlot(title=panel["title"], x=X_AXIS, log_y=log_y, ignore_outliers=False, **curves))
    return [placed(panel, index) for index, panel in enumerate(panels)]


def placed(panel: Any, index: int) -> Any:
    """The panel in a grid of three columns; a report puts panels without a place on top of each other."""
    import wandb_workspaces.reports.v2 as wr

    row, column = divmod(index, 3)
    panel.layout = wr.Layout(x=8 * column, y=6 * row, w=8, h=6)
    return panel


def search_panels(name: str) -> list[Any]:
    """Of a search of conf/hparams_search: its keys beside the results, and their importance."""
    import wandb_workspaces.reports.v2 as wr

    config = compose("train", [f"hparams_search={name}"], return_hydra_config=True)
    result = f"{config.objective}.{direction(config.objective)}"  # the best value, as callbacks/wandb_run.py keeps it
    columns = [
        wr.ParallelCoordinatesPlotColumn(wr.Config(key), log="log" in searched)
        for key, searched in config.hydra.sweeper.params.items()
    ]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(result)))
    return [
        wr.ParallelCoordinatesPlot(title=f"search {name}", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=result),
    ]
