"""One rank of a run: read the run directory, build the objects, train, end with an exit code.

    python -m distprop.worker RUN        started by the launcher, once for each rank
    python -m distprop.worker RUN N      compiles what N ranks on this machine will call, started before them
    python -m distprop.worker FOLDER replay    computes a window of another run again, which is described in the folder
    mpirun -n 4 distprop train CONFIG    under somebody else's mpirun: the ranks make the run directory themselves

What is wrong with configuration or data is found before MPI is initialised, so that such an error can't leave ranks
waiting for each other. After that, whatever a rank fails of ends all ranks.
"""

import contextlib
import errno
import faulthandler
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distprop.comm.communicator import Communicator
from distprop.comm.slices import check_ranks
from distprop.config import load_config, resolve, write_config
from distprop.config.run import Config
from distprop.data.fit import fitting_graph
from distprop.environment import launched, rank_by_environment
from distprop.errors import DisagreementError, DistpropError, Interrupted, UsageError, out_of_memory
from distprop.paths import cache_folder
from distprop.report import epoch_line
from distprop.run_directory import RunDirectory
from distprop.training.guards import agree, ingredients
from distprop.training.observer import RunObserver
from distprop.training.replay import replay
from distprop.training.run import Material, made_of, prepared_material, rehearse, train_run

LATE_S = 5.0  # after which a rank other than 0 tells an error that rank 0 would have told too


def main(arguments: Sequence[str]) -> int:
    """A rank that the launcher has started, or the process that compiles for so many ranks."""
    run = RunDirectory.open(Path(arguments[0]))
    try:
        config = load_config(run.config, check_files=False)
        material = prepared_material(config)
        if arguments[1:] == ["replay"]:
            return _replay(run, config, material)
        if arguments[1:]:
            rehearse(config, material, ranks=int(arguments[1]), one_machine=True)
            return 0
        return _work(run, config, material)
    except BaseException as error:
        return _fail(run, error)


def train(config: Path, overrides: Sequence[str], run: Path | None) -> int:
    """A rank of somebody else's mpirun that trains a new run."""
    with told_once():
        resolved = resolve(load_config(config, overrides), config.parent)
        material = prepared_material(resolved)
        fitting_graph(resolved.network, material.encoding)
    comm = _world()
    try:
        agree(comm, ingredients(made_of(resolved, material)))
        check_ranks(comm.size, resolved.training.shards or 1)
    except (UsageError, DisagreementError) as error:  # on every rank alike, so all of them leave without an abort
        if comm.rank == 0:
            print(error, file=sys.stderr, flush=True)
        return error.exit_code
    directory = None
    if comm.rank == 0:
        try:
            directory = _new_run(run, config.stem, resolved)
        except DistpropError as error:
            print(error, file=sys.stderr, flush=True)
            _abort(error.exit_code)
    path = comm.broadcast(str(directory.path) if directory else "")
    return _guarded(RunDirectory(Path(path)), resolved, material)


def resume(run: Path) -> int:
    """A rank of somebody else's mpirun that continues a run."""
    with told_once():
        directory = RunDirectory.open(run)
        config = load_config(directory.config, check_files=False)
        material = prepared_material(config)
    return _guarded(directory, config, material)


def _guarded(run: RunDirectory, config: Config, material: Material) -> int:
    try:
        return _work(run, config, material)
    except BaseException as error:
        return _fail(run, error)


def _work(run: RunDirectory, config: Config, material: Material) -> int:
    """Train to the end, or until asked to stop after a checkpoint."""
    comm = _world()
    show = None if launched() else _show
    with _stacks_in(run.log(comm.rank)), _alone(run, comm), RunObserver(run, config, comm, show) as observer:
        try:
            outcome = train_run(run, config, material, comm, observer)
        except Interrupted as error:
            comm.barrier()
            _say(comm, f"{error}; continue with: distprop resume {run.path}")
            return error.exit_code
    _say(comm, f"model   {run.model}\ndigest  {outcome.model.digest()}")
    return 0


def _replay(folder: RunDirectory, config: Config, material: Material) -> int:
    comm = _world()
    with _stacks_in(folder.log(comm.rank)):
        try:
            replay(folder, config, material, comm)
        except Interrupted as error:
            comm.barrier()
            return error.exit_code
    return 0


@contextlib.contextmanager
def _stacks_in(path: Path) -> Iterator[None]:
    """Write the stacks of a crash to a file."""
    with path.open("w") as log:
        faulthandler.enable(log)
        try:
            yield
        finally:
            faulthandler.disable()


@contextlib.contextmanager
def _alone(run: RunDirectory, comm: Communicator) -> Iterator[None]:
    """Keep the run to these ranks, and forget how an earlier start ended; our own launcher has done so already."""
    if launched() or comm.rank != 0:
        yield
        return
    with run.held():
        run.clear_outcome()
        yield


def _show(record: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    print(epoch_line(record, status), flush=True)


def _say(comm: Communicator, text: str) -> None:
    if comm.rank == 0 and not launched():
        print(text, flush=True)


def _world() -> Communicator:
    from distprop.comm.mpi import Mpi

    return Mpi()


def _abort(code: int) -> None:
    from distprop.comm.mpi import abort

    abort(code)


def _new_run(path: Path | None, stem: str, config: Config) -> RunDirectory:
    run = RunDirectory.create(path) if path else RunDirectory.create_named(stem)
    write_config(config, run.config)
    return run


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """Errors that every rank meets alike are told by rank 0; one that rank 0 doesn't meet is told a little later."""
    try:
        yield
    except DistpropError as error:
        if rank_by_environment():
            time.sleep(LATE_S)
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None


def _fail(run: RunDirectory, error: BaseException) -> int:
    """Record why this rank ends, and end all others with it: they would wait for it in their next collective."""
    code = error.exit_code if isinstance(error, DistpropError) else 1
    text = _text(run, error)
    rank = rank_by_environment() or 0
    recorded = _record(run, rank, error, text, code)
    if not launched() or not recorded:
        if rank and isinstance(error, DistpropError):  # most are raised by all ranks alike: rank 0 tells and ends all
            time.sleep(LATE_S)
        print(text, file=sys.stderr, flush=True)
    if "mpi4py.MPI" in sys.modules:
        _abort(code)
    return code


def _text(run: RunDirectory, error: BaseException) -> str:
    """For people: one line for what they can mend, else the traceback."""
    if isinstance(error, DistpropError):
        return str(error)
    if isinstance(error, MemoryError):
        return out_of_memory(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        place = error.filename or f"{run.path} or {cache_folder('')}"
        return f"{place}: {error.strerror}; make room, then: distprop resume {run.path}"
    return traceback.format_exc()


def _record(run: RunDirectory, rank: int, error: BaseException, text: str, code: int) -> bool:
    """Whether the failure is in the run directory. A full disk must not keep this rank from ending the others."""
    try:
        run.write_failure(rank, type(error).__name__, text, code)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
