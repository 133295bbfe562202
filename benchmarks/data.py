"""How fast a CSV file is prepared, and with how much memory.

Run: python benchmarks/data.py [rows ...] [--quick] [--json FILE]
Prints rows/s, MB/s and the peak of resident memory above that of the imports, by default for 100,000 and 1,000,000 rows
of 20 columns and a class.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from report import Figure, Report, figure, finish, parser_of

from distprop.config.data import Data

COLUMNS, CITIES = 20, 50
FEATURES = COLUMNS - 1 + CITIES  # units that the columns become
ROWS_AT_ONCE = 50_000
ABOUT = "A file of 20 columns and a class becomes memory-mapped arrays; resident memory above that of the imports."


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
                ",".join([*row, f"city{n % CITIES}", str(label)])
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


def main() -> None:
    parser = parser_of(__doc__, "20,000 rows")
    parser.add_argument("rows", type=int, nargs="*", default=[100_000, 1_000_000])
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in [20_000] if options.quick else options.rows:
            path = folder / f"{rows}.csv"
            write_csv(path, rows)
            command = [sys.executable, __file__, "--measure", str(path), str(folder / "cache")]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
            seconds, mib = map(float, done.stdout.split())
            numbers = {
                "seconds": seconds,
                "rows/s": rows / seconds,
                "MB/s": path.stat().st_size / 1e6 / seconds,
                "MiB above the imports": mib,
            }
            figures += [figure(f"{rows:,} rows", measure, [value]) for measure, value in numbers.items()]
    finish(Report("Preparing a CSV file", ABOUT, figures), options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(*measure(Path(sys.argv[2]), Path(sys.argv[3])))
    else:
        main()
