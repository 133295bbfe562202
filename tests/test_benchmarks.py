"""The benchmarks still run, and what they are made of: programs that take turns, figures with goals, hosts."""

import math
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import hosts  # noqa: E402 (from the folder of the benchmarks, as all that follow)
import programs  # noqa: E402
import report  # noqa: E402
import rounds  # noqa: E402

IMAGES = Path("/usr/share/datasets/fashion-mnist")

ECHO = """
import sys
from pathlib import Path
from conversation import Conversation

talk = Conversation(Path(sys.argv[1]))
talk.answer("ready")
for question in talk:
    if question == "die":
        sys.exit("dead")
    while question == "hang":
        pass
    talk.answer({"seconds": [0.5] * question if isinstance(question, int) else question})
"""


@pytest.fixture
def echo(tmp_path: Path) -> programs.Program:
    """A program that answers with the question."""
    (tmp_path / "echo.py").write_text(ECHO)
    return programs.Program((sys.executable, str(tmp_path / "echo.py")), {"PYTHONPATH": str(BENCHMARKS)})


CORES = sorted(os.sched_getaffinity(0))[:1]


def test_a_program_answers_each_question_and_ends_when_there_are_no_more(echo: programs.Program) -> None:
    with programs.Running(echo, CORES) as running:
        assert running.answer() == "ready"
        running.ask("a")
        running.ask("b")
        assert [running.answer()["seconds"], running.answer()["seconds"]] == ["a", "b"]
        process = running._process
    assert process.returncode == 0


def test_what_a_program_printed_before_it_died_is_told(echo: programs.Program) -> None:
    with programs.Running(echo, CORES) as running:
        assert running.answer() == "ready"
        running.ask("die")
        with pytest.raises(RuntimeError, match=r"exit code 1:\ndead"):
            running.answer()


def test_a_program_that_never_answers_is_told_and_killed(
    echo: programs.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="took longer"), programs.Running(echo, CORES) as running:
        assert running.answer() == "ready"
        process = running._process
        running.ask("hang")
        monkeypatch.setattr(programs, "LIMIT_S", 0.5)
        running.answer()
    assert process.returncode is not None


def test_sides_take_turns_there_and_back(echo: programs.Program) -> None:
    order = []

    class Noted(rounds.Side):
        def turn(self) -> rounds.Turn:
            order.append(self)
            return super().turn()

    with Noted([(echo, CORES)], 1.5) as first, Noted([(echo, CORES), (echo, CORES)], 1.0) as second:
        order.clear()
        turns = rounds.take_rounds({"first": first, "second": second}, 2, lambda: order.append(None))
    assert order == [first, second, None, second, first, None]
    assert turns["first"] == [[{"seconds": [0.5] * 3}]] * 2  # 1.5 s a turn
    assert turns["second"] == [[{"seconds": [0.5] * 2}] * 2] * 2


def test_a_figure_is_the_median_with_the_middle_half() -> None:
    samples = [5.0, 1.0, 2.0, 4.0, 3.0]
    found = report.figure("a", "b", samples)
    assert (found.low, found.value, found.high) == (2.0, statistics.median(samples), 4.0)
    alone = report.figure("a", "b", [7.0])
    assert (alone.low, alone.value, alone.high) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize(
    ("goal", "at_most", "missed"),
    [(None, False, False), (3.0, False, False), (3.1, False, True), (3.0, True, False), (2.9, True, True)],
)
def test_a_goal_is_missed_on_its_wrong_side_only(goal: float | None, at_most: bool, missed: bool) -> None:
    found = report.figure("a", "b", [3.0], goal, at_most)
    assert found.missed is missed
    assert ("missed" in str(found)) is missed


def test_a_report_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    figures = [report.figure("net", "speed", [1.0, 2.0], 1.2), report.figure("other", "size", [12345.0])]
    saved = report.Report("Title", "About.", figures, [report.Table("More", ["x"], [["y"]])], machine="here")
    saved.save(tmp_path / "report.json")
    assert str(report.load_report(tmp_path / "report.json")) == str(saved)
    assert "| net | 1.50 (1.25 to 1.75); goal ≥ 1.2 |  |" in str(saved)
    assert "| other |  | 12,345 |" in str(saved)


@pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing()))
def test_hosts_know_each_other_by_name_and_nothing_of_them_is_left() -> None:
    with hosts.hosts(2, rate_mbit=100) as made:
        first, second = made.names
        program = ["sh", "-c", f"hostname && getent hosts {first}"]
        on_itself = subprocess.run(made.on(first, program), capture_output=True, text=True, timeout=100, check=True)
        remote = [str(made.agent), second, *program[:2], f"'{program[2]}'"]
        by_agent = subprocess.run(remote, capture_output=True, text=True, timeout=100, check=True)
        with subprocess.Popen(made.on(second, ["sleep", "1000"])) as left:
            while not made.processes(second):
                pass
            hosts._remove(second)
            assert left.wait(100) == -9
    assert [on_itself.stdout.split()[0], by_agent.stdout.split()[0]] == [first, second]
    assert on_itself.stdout.split()[1:] == by_agent.stdout.split()[1:] != []
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"dp{os.getpid()}" not in spaces
    assert not (hosts.NAMES / first).exists()


NAMES = (
    pytest.param("steps", marks=pytest.mark.peers),
    pytest.param("fashion", marks=pytest.mark.peers),
    "matmul",
    "matmul64",
    "exchange",
    "overlap",
    "mapped",
    "startup",
    "resident",
    "checkpoint",
    "guards",
    "memory",
    "data",
)


def require(name: str) -> None:
    """Skips where a benchmark can't run."""
    if name == "overlap" and (why := hosts.missing()):
        pytest.skip(why)
    if name == "fashion" and not IMAGES.is_dir():
        pytest.skip(f"{IMAGES} is missing: apt-get install dataset-fashion-mnist")
    if name == "steps" and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_and_finds_figures(name: str, tmp_path: Path) -> None:
    require(name)
    command = [sys.executable, str(BENCHMARKS / "all.py"), name, "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=880)
    assert done.returncode == 0, done.stderr
    found = report.load_report(tmp_path / f"{name}.json")
    assert found.text or all(math.isfinite(figure.value) for figure in found.figures)
    assert found.figures or found.text
    assert f"## {found.title}" in (tmp_path / "README.md").read_text()
    assert (tmp_path / f"{name}.svg").exists() == bool(found.figures)
