"""How soon distprop answers, and what it must not import for that."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "startup.py"
HEAVY = {"numba", "llvmlite", "numpy", "mpi4py", "pydantic", "pyarrow", "rich", "safetensors", "psutil", "tomli_w"}
BUSY_S = 0.5  # 0.2 s on a calm machine; the benchmark measures that
# The second number counts in the benchmark's yardstick, for machines on which all is slower.
WARM_S, WARM = 1.5, 5.0
COLD_S, COLD = 30.0, 80.0


def roots_imported(arguments: list[str], folder: Path) -> set[str]:
    """The packages that a command imports, as the interpreter itself reports them."""
    command = [sys.executable, "-X", "importtime", "-m", "distprop.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=250, check=True)
    return {name.split(".")[0] for name in re.findall(r"^import time:.*\| *(\S+)$", done.stderr, re.MULTILINE)}


@pytest.mark.measured
def test_help_answers_at_once_even_on_a_busy_machine() -> None:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "distprop.cli", "--help"], check=True, capture_output=True, timeout=30)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < BUSY_S


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["doctor", "--help"]])
def test_help_imports_nothing_but_the_standard_library(arguments: list[str], tmp_path: Path) -> None:
    roots = roots_imported(arguments, tmp_path)
    assert {"argparse", "distprop"} <= roots and not roots & HEAVY


def test_the_launching_side_imports_neither_numba_nor_mpi4py(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,target\n1,0\n2,1\n")
    (tmp_path / "a.toml").write_text(
        '[data]\ntrain = "a.csv"\n[network]\nlayers = [{type = "dense", units = 2}]\n'
        'loss = {type = "softmax_cross_entropy"}\n'
    )
    roots = roots_imported(["train", "a.toml", "-n", "1", "--dry-run"], tmp_path)
    assert "distprop" in roots and not roots & {"numba", "llvmlite", "mpi4py", "pydantic"}


@pytest.mark.measured
def test_the_first_step_is_soon_done() -> None:
    command = [sys.executable, str(BENCHMARK), "--cold"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=580, check=True).stdout
    cold, warm, best, median = (
        float(re.search(pattern, output, re.MULTILINE)[1])  # type: ignore[index]
        for pattern in (
            r"^empty cache.* ([\d.]+) s$",
            r"^best.* ([\d.]+) s$",
            r"^yardstick: best ([\d.]+) s",
            r"^yardstick: .* median ([\d.]+) s$",
        )
    )
    assert 0 < warm < max(WARM_S, WARM * best), output
    assert 0 < cold < max(COLD_S, COLD * median), output  # there is one such start only
