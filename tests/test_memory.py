"""A million rows of CSV are prepared and trained on in memory that doesn't grow with the rows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "memory.py"
NOISE_MIB = 10.0  # readers run ahead, now more, now less


@pytest.mark.measured
def test_no_process_needs_more_memory_for_a_million_rows_than_for_a_quarter_of_them() -> None:
    command = [sys.executable, str(BENCHMARK), "250000", "1000000"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True).stdout
    quarter, whole = (
        {role: float(mib) for role, mib in re.findall(r"(launcher|rank|total) ([\d.]+)", line)}
        for line in output.splitlines()
    )
    assert quarter.keys() == whole.keys() == {"launcher", "rank", "total"}
    for role, mib in whole.items():
        assert mib < quarter[role] + NOISE_MIB, (role, output)
    assert whole["rank"] < 150
