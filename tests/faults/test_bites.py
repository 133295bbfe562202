"""R24: do the tests bite? Each defect of bugs.toml is put into a copy of the project, and its tests must notice it."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from distprop.config.toml import parse

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("bugs.toml")
BUGS = {bug["name"]: bug for bug in parse(TABLE.read_text(encoding="utf-8"), TABLE)["bug"]}
LIMIT_S = 250.0  # for the tests of one bug

# pytest on the package in its argv[1], which must be the one that is imported.
PYTEST = """
import sys
from pathlib import Path
import pytest
import distprop
if Path(distprop.__file__).parent != Path(sys.argv[1]):
    print(f"{distprop.__file__} is imported, not {sys.argv[1]}")
    sys.exit(99)
sys.exit(pytest.main(sys.argv[2:]))
"""


def changed(bug, root):
    """The text of the file with the bug in it."""
    text, old = (root / bug["file"]).read_text(encoding="utf-8"), bug["old"]
    assert text.count(old) == 1, f"{bug['file']} has these lines {text.count(old)} times:\n{old}"
    return text.replace(old, bug["new"])


@pytest.fixture
def run_tests(run_command, copy):
    """Call it to run tests of the copy. What became of each: "", or the first line of why it failed; and all words."""
    report = copy.parent / "report.xml"
    options = f"-n 0 -x -p no:cacheprovider --junitxml={report} --basetemp={copy.parent / 'temp'}".split()

    def run_tests(tests, limit_s=LIMIT_S, **environment):
        command = [sys.executable, "-c", PYTEST, copy / "distprop", *options, "-m", "", *tests]
        done = run_command(command, limit_s, environment={"PYTHONPATH": str(copy), **environment}, folder=copy)
        said = done.stdout + done.stderr
        assert done.returncode in (0, 1), said
        return {case.get("name"): outcome(case) for case in ElementTree.parse(report).iter("testcase")}, said

    return run_tests


def outcome(case):
    """Errors are no failures: they come from fixtures, or from files that can't be imported."""
    for kind in ("error", "skipped", "failure"):
        if (found := case.find(kind)) is not None:
            return f"{'' if kind == 'failure' else kind + ': '}{found.get('message')}".splitlines()[0]
    return ""


def is_assertion(why):
    return why.startswith(("assert ", "AssertionError", "Failed: DID NOT "))


def test_the_docs_tell_how_many_bugs_there_are():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert f"| {len(BUGS)} defects, " in page and f"| {len(BUGS)} of {len(BUGS)} |" in page


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_still_fits_into_its_file_and_is_python(name):
    compile(changed(BUGS[name], ROOT), BUGS[name]["file"], "exec")


@pytest.mark.long
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_noticed(copy, run_tests, tmp_path, name):
    bug = BUGS[name]
    (copy / bug["file"]).write_text(changed(bug, copy), encoding="utf-8")
    # Nobody else has use for the code that is compiled from such kernels.
    own = {"DISTPROP_CACHE": str(tmp_path / "cache")} if bug["file"].startswith("distprop/kernels/") else {}
    outcomes, said = run_tests(bug["tests"], **own)
    failed = [why for why in outcomes.values() if why]
    assert failed, f"no test notices it:\n{said}"
    assert all(map(is_assertion, failed)), f"not by an assertion: {failed}\n{said}"


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_without_bugs_the_same_tests_pass(run_tests):
    outcomes, said = run_tests(sorted({test for bug in BUGS.values() for test in bug["tests"]}), 10 * LIMIT_S)
    assert outcomes and not any(outcomes.values()), said
