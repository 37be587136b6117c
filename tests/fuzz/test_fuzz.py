"""Damaged and odd inputs: each ends in a result or in one line. `python -m benchmarks.fuzz` tries them by the thousand.

A failure prints what was done to the input, as little as Hypothesis could find, and a line that tries it again alone.
"""

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from benchmarks.fuzz import build
from tests.fuzz.harness import outcome

pytestmark = pytest.mark.slow

EXAMPLES = {"episodes": 70, "own_data": 40, "prompts": 60, "checkpoints": 40, "messages": 30, "config": 15}

LIMIT = 120  # seconds of an example that takes one at most: the machine may have other things to do


@pytest.fixture(scope="module", params=EXAMPLES)
def kind(request, tmp_path_factory):
    built = build(request.param, tmp_path_factory.mktemp("fuzz"))
    yield request.param, built
    built.close()


@pytest.mark.filterwarnings("ignore")
def test_ends_in_a_result_or_in_one_line(kind):
    name, built = kind

    @settings(
        max_examples=EXAMPLES[name], derandomize=True, database=None, deadline=None, print_blob=True,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def try_it(chance):
        result = outcome(built, chance, LIMIT)
        note(str(result))
        assert not result.fault, result

    try_it()
