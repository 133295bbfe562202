"""R24: do the tests bite? Each defect of bugs.toml is put into a copy of the project, and its tests must notice it."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import distprop
from distprop.config.toml import parse

TABLE = Path(__file__).with_name("bugs.toml")
BUGS = {bug["name"]: bug for bug in parse(TABLE.read_text(encoding="utf-8"), TABLE)["bug"]}
ROOT = Path(__file__).parents[2]
PARTS = ("distprop", "tests", "examples", "pyproject.toml")
LIMIT_S = 250.0

# pytest on the package in its argv[1], which must be the one that is imported.
PYTEST = """
import sys
from pathlib import Path
import pytest
import distprop
if Path(distprop.__file__).parent != Path(sys.argv[1]):
    sys.exit(f"{distprop.__file__} is imported, not {sys.argv[1]}")
sys.exit(pytest.main(sys.argv[2:]))
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and its tests."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, copy)
    return copy


def change(copy, bug):
    path = copy / bug["file"]
    text = path.read_text(encoding="utf-8")
    assert text.count(bug["old"]) == 1, f"{bug['file']}: these lines are {text.count(bug['old'])} times in it: {bug['old']}"
    path.write_text(text.replace(bug["old"], bug["new"]), encoding="utf-8")


def run_tests(copy, tests):
    """What became of each test, by name: "", or the first line of why it failed; and all that pytest said."""
    report = copy.parent / "report.xml"
    options = ["-n", "0", "-x", "-p", "no:cacheprovider", f"--junitxml={report}", f"--basetemp={copy.parent / 'temp'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", PYTEST, copy / "distprop", *options, *tests],
        env={**environment, "PYTHONPATH": str(copy)}, cwd=copy, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1), said
    return {case.get("name"): outcome(case) for case in ElementTree.parse(report).iter("testcase")}, said


def outcome(case):
    """Errors are no failures: they come from fixtures, or from files that can't be imported."""
    for kind in ("error", "skipped", "failure"):
        if (found := case.find(kind)) is not None:
            return f"{'' if kind == 'failure' else kind + ': '}{found.get('message')}".splitlines()[0]
    return ""


def is_assertion(why):
    return why.startswith(("assert ", "AssertionError", "Failed: DID NOT "))


def test_there_are_many_bugs():
    assert len(BUGS) >= 40 and all(bug["old"] != bug["new"] for bug in BUGS.values())


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_can_still_be_written(copy, name):
    change(copy, BUGS[name])


@pytest.mark.long
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_noticed(copy, name):
    bug = BUGS[name]
    change(copy, bug)
    outcomes, said = run_tests(copy, bug["tests"])
    failed = [why for why in outcomes.values() if why]
    assert failed, f"no test notices it:\n{said}"
    assert all(map(is_assertion, failed)), f"not by an assertion: {failed}\n{said}"


@pytest.mark.long
def test_without_bugs_the_same_tests_pass(copy):
    tests = sorted({test for bug in BUGS.values() for test in bug["tests"]})
    outcomes, said = run_tests(copy, tests)
    assert outcomes and not any(outcomes.values()), said
