"""How fast a CSV file is prepared, and with how much memory: python benchmarks/data.py [rows ...]

Prints rows/s, MB/s and the peak of resident memory above that of the imports, by default for 100,000 and 1,000,000 rows
of 20 columns and a class.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from distprop.config.data import Data

COLUMNS = 20
ROWS_AT_ONCE = 50_000


def write_csv(path: Path, rows: int) -> None:
    """A file of 19 columns of numbers, one of text, and two classes, that is the same each time."""
    generator = np.random.Generator(np.random.Philox(key=rows))
    names = [*(f"x{n}" for n in range(COLUMNS - 1)), "city", "target"]
    with path.open("w") as file:
        file.write(",".join(names) + "\n")
        for first in range(0, rows, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, rows - first)
            numbers = generator.standard_normal((count, COLUMNS - 1)).round(4).astype("U8").tolist()
            labels = generator.integers(0, 2, count).tolist()
            lines = (
                ",".join([*row, f"city{n % 50}", str(label)])
                for n, (row, label) in enumerate(zip(numbers, labels, strict=True))
            )
            file.write("\n".join(lines) + "\n")


def measure(path: Path, cache: Path) -> tuple[float, float]:
    """Seconds, and MiB of resident memory above that of the imports. To be called in a fresh process."""
    import distprop.data.csv_table  # noqa: F401  (so that it counts as an import)
    from distprop.data.prepare import prepare

    before, start = _peak_mib(), time.perf_counter()
    prepare(Data(train=str(path)), 0, "float32", cache)
    return time.perf_counter() - start, _peak_mib() - before


def _peak_mib() -> float:
    """The most memory that was resident so far (getrusage would count the parent's before exec)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in sizes:
            path = folder / f"{rows}.csv"
            write_csv(path, rows)
            result = subprocess.run(
                [sys.executable, __file__, "--measure", str(path), str(folder / "cache")],
                check=True,
                capture_output=True,
                text=True,
                timeout=600,
            )
            seconds, mib = (float(word) for word in result.stdout.split())
            megabytes = path.stat().st_size / 1e6
            print(
                f"{rows:>9,} rows, {megabytes:6.1f} MB: {seconds:6.2f} s, {rows / seconds:>9,.0f} rows/s, "
                f"{megabytes / seconds:5.0f} MB/s, peak {mib:4.0f} MiB above the imports"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(*measure(Path(sys.argv[2]), Path(sys.argv[3])))
    else:
        main([int(word) for word in sys.argv[1:]] or [100_000, 1_000_000])
