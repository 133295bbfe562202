"""Imports go down, and what is heavy or dangerous is imported in one place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import distprop

PACKAGE = Path(distprop.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# From the lowest floor up; those of one line are on the same floor and may import each other.
FLOORS = (
    ("environment", "errors", "files", "manifest", "paths"),
    ("kernels",),
    ("config",),
    ("heartbeat", "network"),
    ("data",),
    ("comm",),
    ("compiled", "replay", "report", "run_directory"),
    ("training",),
    ("measure", "trials", "worker"),
    ("launch",),
    ("api", "cli", "inspection", "verify", "__init__", "__main__"),
)
# What the launching side must not import, at whatever depth of a file: it has to start at once and outlive any rank.
NOT_FOR_LAUNCH = {"kernels", "network", "comm", "training", "worker"}


def imported(source: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in the file; `from a import b` counts as a.b."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: write imports in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def floor(part: str) -> int:
    return next(number for number, parts in enumerate(FLOORS) if part in parts)


def part_of(source: Path) -> str:
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parts_imported(source: Path) -> set[str]:
    """Parts of distprop that a file imports. From `distprop` itself one may import a part or a public name."""
    known = {part_of(other) for other in SOURCES}
    names = [name.split(".") for name in imported(source) if name.split(".")[0] == "distprop"]
    return {name[1] if len(name) > 1 and name[1] in known else "__init__" for name in names}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(PACKAGE)))
def test_imports_go_down(source):
    for part in parts_imported(source) - {part_of(source)}:
        assert floor(part) < floor(part_of(source)) or {part, part_of(source)} <= set(FLOORS[floor(part)]), part


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(PACKAGE)))
def test_only_kernels_import_numba_and_only_one_file_imports_mpi4py(source):
    roots = {name.split(".")[0] for name in imported(source)}
    if part_of(source) != "kernels":
        assert not roots & {"numba", "llvmlite"}
    if source != PACKAGE / "comm" / "mpi.py":
        assert "mpi4py" not in roots


@pytest.mark.parametrize("source", [source for source in SOURCES if part_of(source) == "launch"], ids=lambda s: s.name)
def test_the_launching_side_imports_nothing_of_the_ranks(source):
    assert not parts_imported(source) & NOT_FOR_LAUNCH


@pytest.mark.parametrize("module", ["distprop", "distprop.cli", "distprop.launch.start"])
def test_importing_the_command_line_imports_nothing_heavy(module):
    heavy = {"numba", "numpy", "mpi4py", "pydantic", "pyarrow", "rich", "safetensors", "psutil"}
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=True)
    assert done.stdout.split() == []


def test_the_oracle_sees_an_import_inside_a_function(tmp_path):
    source = tmp_path / "file.py"
    source.write_text("def f():\n    from distprop import worker\n    import numba.core\n")
    assert imported(source) == {"distprop.worker", "numba.core"}
