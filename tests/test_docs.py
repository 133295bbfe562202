"""The pages say what is so: their commands and code are run, their configurations checked, their links followed.

In README.md and docs/*.md, blocks of the kinds `console` (commands behind "$ ", and what they print, with ... for what
varies) and `python` are run in the order of the page, in one folder that holds the examples; so are `toml` blocks: one
that begins with "# NAME.toml" is written there, others are only checked. A `csv` block is written under the name of the
last `NAME.csv` before it. Blocks of any other kind are not touched.
"""

import ast
import contextlib
import doctest
import io
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import distprop as dp
from distprop.config import check
from distprop.report import COMPILING

ROOT = Path(__file__).parent.parent
GENERATED = ["configuration.md"]
LONG = ("data.md", "data-parallel.md", "hosts.md", "plan.md")  # they start many trainings
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED)]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
REST = """
[network]
layers = [{ type = "dense", units = 2 }]
loss = { type = "mean_squared_error" }
"""


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    line: int
    before: str = ""  # the page up to here


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], text[: found.start()].count("\n") + 1, text[: found.start()])
        for found in BLOCK.finditer(text)
    ]


def commands_of(block):
    """Each command of a console block, with what it should print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def agrees(expected, got):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return not expected.strip() or doctest.OutputChecker().check_output(expected, got, flags)


def pages_id(page):
    return page.name


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The folder in which a page is run, with the examples in it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run_console(block, run_command):
    programs = {"distprop": [sys.executable, "-m", "distprop.cli"], "python": [sys.executable]}
    for command, expected in commands_of(block):
        program, *arguments = shlex.split(command, comments=True)
        done = run_command([*programs.get(program, [program]), *arguments])
        printed = (done.stdout + done.stderr).replace(f"{COMPILING}\n", "")  # once on a machine, so not in the pages
        assert agrees(expected, printed), f"line {block.line}: $ {command}\n{printed}"


def run_python(block, names):
    if ">>>" in block.text:
        test = doctest.DocTestParser().get_doctest(block.text, names, f"line {block.line}", None, block.line)
        told = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(test, out=told.append, clear_globs=False)
        names.update(test.globs)
        assert not runner.failures, "".join(told)
    else:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block.text, f"line {block.line}", "exec"), names)


def check_toml(block, folder):
    name = re.match(r"# (\S+\.toml)\n", block.text)
    path = folder / (name[1] if name else "fragment.toml")
    text = block.text if "[network" in block.text else block.text + REST
    path.write_text(text if "[data" in text else text + '[data]\ntrain = "train.csv"\n', encoding="utf-8")
    for file in re.findall(r'"([\w./-]+\.(?:csv|csv\.gz|tsv|parquet|npz|npy))"', path.read_text(encoding="utf-8")):
        (folder / file).touch()
    assert check(path) == [], f"line {block.line}"


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.long] * (page.name in LONG)) for page in PAGES], ids=pages_id
)
def test_everything_that_a_page_shows_works(page, workplace, run_command):
    names = {"__name__": "page"}
    for block in blocks_of(page):
        if block.kind == "console":
            run_console(block, run_command)
        elif block.kind == "python":
            run_python(block, names)
        elif block.kind == "toml":
            check_toml(block, workplace)
        elif block.kind == "csv":
            (workplace / re.findall(r"`([\w-]+\.csv)`", block.before)[-1]).write_text(block.text)


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "docs" / name for name in GENERATED)], ids=pages_id)
def test_every_link_leads_somewhere_and_every_linked_name_is_defined_there(page):
    for text, target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("#"):
            continue
        file = page.parent / target.partition("#")[0]
        assert file.exists(), target
        name = re.fullmatch(r"`(\w+)`", text)
        if name and file.suffix == ".py":
            defined = {getattr(node, "name", None) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))}
            assert name[1] in defined, f"{name[1]} is not in {target}"


def test_every_public_name_is_on_the_page_about_python():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in dp.__all__ if not re.search(rf"`(dp\.)?{name}\b", page)] == []


def test_the_layout_in_the_readme_is_that_of_the_tree():
    (layout,) = (
        block.text for block in blocks_of(ROOT / "README.md") if block.kind == "text" and "distprop/" in block.text
    )
    named = [line.split()[0] for line in layout.splitlines() if line.strip()]
    top = {ROOT / name for name in named}
    inside = {ROOT / "distprop" / name for name in named}
    assert [name for name in named if not ((ROOT / name).exists() or (ROOT / "distprop" / name).exists())] == []
    code = {path for path in (ROOT / "distprop").iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert code <= inside and {ROOT / "scripts", ROOT / "tests", ROOT / "examples", ROOT / "docs"} <= top


def test_a_wrong_page_is_noticed(workplace, run_command):
    with pytest.raises(AssertionError):
        run_console(Block("console", "$ distprop --version\ndistprop none\n", 1), run_command)
    with pytest.raises(AssertionError):
        run_python(Block("python", ">>> 1 + 1\n3\n", 1), {})
    with pytest.raises(AssertionError):
        check_toml(Block("toml", '[data]\ntrian = "a.csv"\n', 1), workplace)
