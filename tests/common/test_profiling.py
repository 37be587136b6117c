"""What work costs: memory is told for each piece of work, passes and seconds for each frame."""

import math
import re
import subprocess
import sys

import pytest

from genie.common.profiling import CLEAR, CLEAR_PEAK, GenerationCost, machine, measured

# in a process of its own: here the allocator may have been told to keep what is freed
MEASURE = """
from genie.common.profiling import measured
with measured() as large:
    block = bytearray(b"1") * (200 << 20)
    del block
with measured() as small:
    block = bytearray(b"1") * (20 << 20)
with measured() as outer:
    block = bytearray(b"1") * (200 << 20)
    del block
    with measured() as inner:
        block = bytearray(b"1") * (20 << 20)
print(large.peak_rss_mb - small.peak_rss_mb, outer.peak_rss_mb - inner.peak_rss_mb)
"""


def test_the_peak_is_that_of_the_piece_of_work_and_of_all_work_inside_it():
    try:
        CLEAR.write_text(CLEAR_PEAK)
    except OSError:
        pytest.skip("this system does not forget an earlier peak")
    run = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert [float(number) for number in run.stdout.split()] == pytest.approx([180, 180], abs=30)


def test_what_fails_has_cost_too():
    with pytest.raises(ValueError, match="on purpose"), measured() as cost:
        raise ValueError("on purpose")
    assert cost.peak_rss_mb > 1 and cost.seconds >= 0


def test_the_mean_is_over_frames_not_over_batches():
    cost = GenerationCost()
    assert math.isnan(cost.passes_per_frame) and math.isnan(cost.seconds_per_frame)
    cost.add([4], 1.0)
    cost.add([1, 1, 2], 1.0)
    assert cost.frames == 4 and cost.passes_per_frame == 2 and cost.seconds_per_frame == 0.5


def test_the_machine_has_a_name_and_cores():
    assert re.fullmatch(r".+, [1-9]\d* cores?", machine()) and "\n" not in machine()
