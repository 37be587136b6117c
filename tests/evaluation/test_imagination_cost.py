"""What is measured of imagining: so many branches, so many steps, so many at a time."""

import pytest

from genie.common.settings.evaluation import Imagination
from genie.evaluation.imagination_cost import evaluate_imagination


def test_all_branches_are_imagined_as_many_at_a_time(line_world, line_clips, tmp_path):
    given, widths = line_clips(line_world(), 1, 2).states, []

    class Counting(line_world):
        def step(self, state, actions, decode=True):
            assert not decode
            widths.append(len(state))
            return super().step(state, actions)

    settings = Imagination(branches=10, horizon=3, batches=[4, 10], horizons=[1, 3])
    figures = evaluate_imagination(Counting(), given, settings, tmp_path)
    assert list(figures) == ["branches", "b4_h3", "b10_h3", "b4_h1"]  # the second of horizons is the first row again
    assert widths == [2] + [4] * 6 + [2] * 3 + [10] * 3 + [4, 4, 2]
    for name, steps in (("b4_h3", 30), ("b10_h3", 30), ("b4_h1", 10)):
        assert figures[name]["steps_per_second"] * figures[name]["seconds"] == pytest.approx(steps)
        assert figures[name]["peak_mb"] > 50 and 0 <= figures[name]["own_mb"] < figures[name]["peak_mb"]
    assert (tmp_path / "imagination.png").stat().st_size > 0
