"""Run all benchmarks, one after the other, and write what they found: tables in Markdown, plots, and the data.

Run: python benchmarks/all.py [NAME ...] [--quick] [--output FOLDER]
In the folder, by default benchmarks/results (quick runs: runs/benchmarks), every benchmark has a NAME.json; README.md
and the plots are made anew of all that are there. One that fails, or can't run here, is told and left out.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peers import peer_python
from report import Report, load_report

HERE = Path(__file__).parent
LIMIT_S = 7200.0


@dataclass(frozen=True)
class Benchmark:
    """script: its file, if not that of its name. quick: what a quick run has more. title: for those that print text."""

    arguments: Sequence[str] = ()
    quick: Sequence[str] = ()
    script: str = ""
    title: str = ""


# In the order of the page.
BENCHMARKS: Mapping[str, Benchmark] = {
    "steps": Benchmark(quick=("--networks", "64-32-10,16", "784-256-128-10,64", "--optimizers", "adam")),
    "matmul": Benchmark(title="Matrix products against NumPy's, one core, float32"),
    "matmul64": Benchmark(("--dtype", "float64"), script="matmul", title="Matrix products, float64"),
    "exchange": Benchmark(),
    "overlap": Benchmark(),
    "simulation": Benchmark(),
    "plan": Benchmark(),
    "mapped": Benchmark(),
    "fashion": Benchmark(),
    "startup": Benchmark(("--cold",)),
    "resident": Benchmark(),
    "checkpoint": Benchmark(),
    "guards": Benchmark(),
    "restart": Benchmark(),
    "memory": Benchmark(),
    "data": Benchmark(),
}


def run(name: str, folder: Path, quick: bool) -> bool:
    """Run a benchmark, which writes its report. Whether it succeeded."""
    benchmark, path = BENCHMARKS[name], folder / f"{name}.json"
    command = [sys.executable, str(HERE / f"{benchmark.script or name}.py"), *benchmark.arguments]
    command += ["--quick", *benchmark.quick] if quick else []
    command += [] if benchmark.title else ["--json", str(path)]
    began = time.monotonic()
    print(f"== {' '.join(command)}", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
    print(f"{done.stdout}\n== {name}: {time.monotonic() - began:.0f} s, exit code {done.returncode}", file=sys.stderr)
    if done.returncode == 0 and benchmark.title:
        Report(benchmark.title, "", [], text=done.stdout).save(path)
    return done.returncode == 0


def write_page(folder: Path) -> None:
    """README.md: what was reached and what was missed, then every report with its plot."""
    reports = {name: load_report(folder / f"{name}.json") for name in BENCHMARKS if (folder / f"{name}.json").exists()}
    command = [str(peer_python("plots")), str(HERE / "plots.py"), *(str(folder / f"{name}.json") for name in reports)]
    subprocess.run(command, check=True)
    parts = [HEAD, _goals(reports)]
    for name, report in reports.items():
        plot = f"![{report.title}]({name}.svg)\n" if (folder / f"{name}.svg").exists() else ""
        parts.append(f"{report}\n{plot}")
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


HEAD = """# Results

Written by `python benchmarks/all.py`; [the page beside it](../README.md) explains every figure. A figure is a median of
repeated measurements, in brackets the range of their middle half, then its goal.
"""


def _goals(reports: Mapping[str, Report]) -> str:
    aimed = [(report, figure) for report in reports.values() for figure in report.figures if figure.goal is not None]
    missed = [(report, figure) for report, figure in aimed if figure.missed]
    lines = [f"{len(aimed) - len(missed)} of {len(aimed)} goals are reached." + (" Missed:" if missed else ""), ""]
    lines += [f"- {report.title}: {figure.subject}, {figure.measure}: {figure}" for report, figure in missed]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="shows that all of them run; the figures mean little")
    parser.add_argument("--output", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    folder = options.output or (HERE.parent / "runs" / "benchmarks" if options.quick else HERE / "results")
    folder.mkdir(parents=True, exist_ok=True)
    failed = [name for name in options.names or BENCHMARKS if not run(name, folder, options.quick)]
    write_page(folder)
    print(f"{folder / 'README.md'}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
