"""Compiled code on disk: whose it is, and that it is loaded at once. What goes wrong with it is in tests/faults."""

import sys
from pathlib import Path

import pytest

from distprop import paths
from distprop.kernels.jit import _Lock

PROGRAM = """
import sys
import numpy as np
import distprop.worker
from distprop.kernels.norms import ordered_sum
assert ordered_sum(np.arange(7.0)) == 21
print("compiled" if ordered_sum.stats.cache_misses else "loaded")
print("ready to compile" if "numba.np.arrayobj" in sys.modules else "not ready to compile")
"""


@pytest.fixture
def called(run_command, tmp_path):
    """Call it to call a kernel in a new process, with a cache folder of its own; gives what it prints."""

    def call(**environment):
        variables = {"DISTPROP_CACHE": str(tmp_path / "cache"), **environment}
        done = run_command([sys.executable, "-c", PROGRAM], environment=variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return call


def test_a_compiled_kernel_is_loaded_without_making_numba_ready_to_compile(called):
    assert called() == ["compiled", "ready to compile"]
    assert called() == ["loaded", "not ready to compile"]


def test_code_for_another_cpu_lies_in_another_folder(called, tmp_path):
    called()
    assert called(NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="")[0] == "compiled"
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 2


SHARED = """
import numba
from distprop.kernels.jit import compile_all
from distprop.kernels.norms import block_square_sums, ordered_sum
from distprop.kernels.tree import column_sums
numbers, table = (numba.types.Array(numba.float64, axes, "C") for axes in (1, 2))
bounds = numba.types.Array(numba.int64, 1, "C")
kinds = {ordered_sum: (numbers,), block_square_sums: (numbers, numbers), column_sums: (numbers, table, bounds, table)}
compile_all(kinds.items())
print(sum(sum(kernel.stats.cache_misses.values()) for kernel in kinds), *(len(kernel.overloads) for kernel in kinds))
"""


def test_processes_that_compile_at_once_share_the_work(run_command, tmp_path):
    environment = {"DISTPROP_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", SHARED]
    with run_command.start(command, environment) as one, run_command.start(command, environment) as other:
        answers = [process.communicate(timeout=100) for process in (one, other)]
    (here, *mine), (there, *theirs) = (output.split() for output, _ in answers)
    assert int(here) + int(there) == 3, answers
    assert mine == theirs == ["1", "1", "1"]


def test_a_lock_is_kept_from_others_for_as_long_as_they_have_patience(tmp_path):
    mine, theirs = _Lock(tmp_path / "lock"), _Lock(tmp_path / "lock")
    assert mine.take(0.0) and not theirs.take(0.0) and not theirs.take(0.05)
    mine.release()
    assert theirs.take(0.0) and not mine.take(0.0)
    theirs.release()


@pytest.fixture
def folder(monkeypatch):
    """Call it for the name of the folder of kernels, computed anew."""
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(paths, "kernel_sources", paths.kernel_sources.__wrapped__)
    yield lambda: paths.kernel_folder.__wrapped__().name


def test_sources_compilers_and_cpus_have_folders_of_their_own(folder, monkeypatch, tmp_path):
    names = [folder()]
    assert folder() == names[0]
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+avx2")
    names.append(folder())
    monkeypatch.setattr(paths, "_cpu", lambda: "another one")
    names.append(folder())
    monkeypatch.setattr(paths, "version", lambda package: "0.1")
    names.append(folder())
    monkeypatch.setattr(paths, "_KERNELS", tmp_path)
    names.append(folder())
    for text in ("", "changed"):
        (tmp_path / "new.py").write_text(text)
        names.append(folder())
    assert len(set(names)) == len(names)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux tells it in a file")
def test_a_cpu_is_known_by_what_it_can_do_not_by_its_clock():
    text = paths._cpu()
    assert "MHz" not in text and ("flags" in text or "Features" in text) and text == paths._cpu()


INTERRUPTED = """
import signal
import numpy as np
from llvmlite.binding import executionengine

string_at = executionengine.string_at

def interrupted(*arguments):  # called by LLVM, which loses what is raised here
    signal.raise_signal(signal.SIGINT)
    return string_at(*arguments)

executionengine.string_at = interrupted
from distprop.kernels.norms import ordered_sum
try:
    ordered_sum(np.arange(7.0))
    print("went on")
except KeyboardInterrupt:
    print("stopped")
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_ctrl_c_is_not_lost_while_llvm_makes_machine_code(run_command, tmp_path):
    environment = {"DISTPROP_CACHE": str(tmp_path / "cache")}
    done = run_command([sys.executable, "-c", INTERRUPTED], environment=environment)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, ["stopped", "True"], "")
