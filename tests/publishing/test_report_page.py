"""The report is one file that shows everything that was measured, escapes what it is given and says what it lacks."""

import copy
import re

import pytest

from genie.common.files import plain
from genie.publishing import report_media
from genie.publishing.report_page import draw_report, render

HOSTILE = """<script>alert('1')</script> "x" onload=y </title></pre></style>"""


def every_number(values):
    """Numbers of nested dicts and lists."""
    if isinstance(values, dict):
        return [number for value in values.values() for number in every_number(value)]
    if isinstance(values, list):
        return [number for value in values for number in every_number(value)]
    return [values] if isinstance(values, int | float) and not isinstance(values, bool) else []


def test_every_figure_is_in_it_exactly(make_run, parse, evaluation):
    page = parse([make_run()])
    assert [number for number in every_number(evaluation) if number not in page.numbers] == []
    for text in ("surprise", "fvd/i3d_16f", "bilinear", "stay", "true simulator", "2.71 ± 0.34 dB", "1 min 24 s"):
        assert text in page.text
    assert page.numbers.count(33.7663) == 1


def test_it_is_one_well_formed_file_without_scripts(make_run, parse):
    for runs in ([make_run("a")], [make_run("b"), make_run("c")]):
        html = render(runs)
        page = parse(runs)
        assert page.complaints == []
        outside = [(name, link) for name, link in page.links if not link.startswith(("data:", "#"))]
        assert outside == []
        assert {link[1:] for _, link in page.links if link.startswith("#")} <= page.ids
        assert "url(" not in html and "@import" not in html and "script" not in page.tags
        assert sum(link.startswith("data:video/mp4") for _, link in page.links) == len(runs)


def test_what_is_given_is_escaped(make_run, parse, evaluation):
    evaluation["true_actions"] = [HOSTILE, "b"]
    evaluation["left_out"] = {HOSTILE: HOSTILE}
    evaluation["novelty"] = {HOSTILE: 1.0, "text": HOSTILE}
    evaluation["rollout"][f"{HOSTILE}_by_horizon"] = [1.0, 2.0, 3.0]
    evaluation["provenance"] = {"date": HOSTILE, "command": HOSTILE, "settings": {HOSTILE: HOSTILE}, "versions": {}}
    one, other = make_run("a", evaluation, quantizer=HOSTILE), make_run("b")
    object.__setattr__(one, "name", HOSTILE)
    for runs in ([one], [one, other]):
        page = parse(runs)
        assert page.complaints == [] and "script" not in page.tags and "script" not in page.open
        assert page.text.count("<script>alert('1')") >= 8  # as text


def test_what_is_not_there_is_said(make_run, parse, evaluation):
    del evaluation["fvd"], evaluation["cost"]
    run = make_run(values=evaluation, media=False)
    (run.run / "tokenizer" / "run.json").unlink()
    (run.run / "tokenizer" / "metrics.csv").unlink()
    (run.folder / "rollout.mp4").write_bytes(b"not a video")
    text = parse([run]).text
    left = text[text.index("Left out action_grid") : text.index("Reproduce The command")]
    for reason in (
        "action_grid , because the world is not trained",
        "FVD , because evaluation.json holds no such figures",
        "training curves (tokenizer) , because there is no metrics.csv",
        "time and memory of training (tokenizer) , because there is no run.json",
        "time and memory of the evaluation",
        "rollout.mp4 , because it cannot be read",
    ):
        assert reason in left
    assert "Tokenizer , because" not in left


def test_a_part_that_was_not_asked_for(make_run, parse, evaluation):
    few = {name: evaluation[name] for name in ("run", "split", "clips", "left_out", "tokenizer")}
    few["provenance"] = {
        "date": "2025-01-31T12:30:00+00:00",
        "command": "python -m genie.evaluate run=a 'parts=[tokenizer]'",
        "settings": {"parts": ["tokenizer"]},
        "versions": {"torch": "2.99"},
    }
    page = parse([make_run(values=few, media=False, trained=False)])
    assert page.complaints == []
    for text in (
        "lam , because not asked for: parts=[tokenizer]", "2025-01-31 12:30 UTC", "'parts=[tokenizer]'", "torch 2.99",
        "holds no config.yaml",
    ):  # fmt: skip
        assert text in page.text
    assert "Objects in rollouts" not in page.text  # they go with the rollout, which was not asked for


def test_the_smallest_evaluation_is_drawn(make_run, parse):
    page = parse([make_run(values={"left_out": {}}, media=False, trained=False)])
    assert page.complaints == [] and "summary" not in page.ids


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_figures_that_are_not_finite(make_run, parse, evaluation, number):
    evaluation["tokenizer"]["psnr"] = number
    evaluation["objects"]["ball"]["survival"] = number
    evaluation["delta_psnr"]["t1"] = number
    page = parse([make_run(values=plain(evaluation))])
    assert page.complaints == [] and "∞ dB" in page.text


# ------------------------------------------------------------------ comparing


def test_the_best_of_each_row_is_marked(make_run, parse, evaluation):
    other = copy.deepcopy(evaluation)
    other["tokenizer"] |= {"psnr": 46.0, "psnr_copy_last": 99.0}
    other["fvd"]["value"] = 400.0  # less is better
    other["rollout"]["psnr_mean"] = 30.0
    other["novelty"]["surprise"] = 99.0  # no direction is known
    page = parse([make_run("a"), make_run("b", other)])
    table = page.best[len(page.best) - page.best[::-1].index(46.0) - 1 :]  # after the cards, which show them too
    assert table == [46.0, 34.25, 400.0]
    assert "Not measured on the same clips" not in page.text


def test_runs_on_other_clips_are_not_ranked(make_run, parse, evaluation):
    other = copy.deepcopy(evaluation)
    other |= {"clips": 64}
    other["tokenizer"]["psnr"] = 46.0
    page = parse([make_run("a"), make_run("b", other)])
    assert page.best == [] and "Not measured on the same clips" in page.text and "clips 5, 64" in page.text


def test_differences_of_configuration_are_shown(make_run, parse):
    page = parse([make_run("a"), make_run("b", width=24)])
    differing = page.text[page.text.index("Differences of configuration") : page.text.index("Complete configuration")]
    assert re.findall(r"model\.\S+ \S+ \S+", differing) == ["model.tokenizer.width 32 24"]


def test_each_side_is_named_after_its_run(make_run, parse):
    page = parse([make_run("one"), make_run("two")])  # of equal videos
    shown = page.text[page.text.index("Rollout The truth") : page.text.index("Figures Each")]
    assert re.findall(r"(?:8 of 8|time\.) (one|two)\b", shown) == ["one", "two"] * 2


# ------------------------------------------------------------------ writing


def test_its_size_is_that_of_its_media(make_run, monkeypatch):
    run = make_run()
    media_size = sum(path.stat().st_size for path in run.folder.iterdir())
    assert len(render([run])) < 8 * media_size + 200_000
    monkeypatch.setattr(report_media, "MOST_MB", 0.001)
    html = render([run])
    assert len(html) < 200_000 and "at most 0.001 MB are put into this file" in html


def test_a_report_that_cannot_be_drawn_is_one_line(make_run, monkeypatch, capsys):
    run = make_run()
    monkeypatch.delenv("GENIE_TRACE", raising=False)
    draw_report([run], run.folder)
    assert (run.folder / "report.html").is_file() and "report: " in capsys.readouterr().out
    monkeypatch.setattr("genie.publishing.report_page.render", lambda runs: 1 / 0)
    (run.folder / "report.html").unlink()
    draw_report([run], run.folder)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("warning: ") and "ZeroDivisionError" in err and err.count("\n") == 1
    assert not list(run.folder.glob("*report*"))
    monkeypatch.setenv("GENIE_TRACE", "1")
    with pytest.raises(ZeroDivisionError):
        draw_report([run], run.folder)
