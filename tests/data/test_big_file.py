"""A million rows of CSV are prepared in memory that doesn't grow with the rows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "data.py"


@pytest.mark.measured
def test_a_million_rows_need_no_more_memory_than_a_quarter_of_them() -> None:
    command = [sys.executable, str(BENCHMARK), "250000", "1000000"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True).stdout
    quarter, whole = (float(peak) for peak in re.findall(r"rows \|.* ([\d.]+) \|$", output, re.MULTILINE))
    assert quarter > 0
    assert whole < min(150, quarter + 25)
