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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from distprop.comm.communicator import Communicator
from distprop.comm.mutual import watching_each_other
from distprop.comm.slices import check_ranks
from distprop.comm.watched import Watched
from distprop.config import load_config, located, resolve
from distprop.config.run import Config
from distprop.data.fit import fitting_graph
from distprop.environment import die_with_parent, launched, prepared, rank_0_has_ended, rank_by_environment, watcher
from distprop.errors import DisagreementError, DistpropError, DivergedError, Interrupted, UsageError, out_of_memory
from distprop.heartbeat.pulse import PREPARING, STARTING, Pulse
from distprop.heartbeat.sender import STACKS, Sender
from distprop.heartbeat.watch import Limits
from distprop.paths import cache_folder
from distprop.report import epoch_line
from distprop.run_directory import RunDirectory
from distprop.training.guards import agree, ingredients
from distprop.training.observer import RunObserver
from distprop.training.replay import replay
from distprop.training.run import Material, made_of, prepared_material, rehearse, train_run

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # errors of disks, which don't pass by themselves
HUNG = 6  # the exit code of ranks that didn't get on
END_S = 5.0  # for MPI to end all ranks
LATE_S = 5.0  # after which a rank other than 0 tells an error that rank 0 would have told too


def main(arguments: Sequence[str]) -> int:
    """A rank that the launcher has started, or the process that compiles for so many ranks."""
    die_with_parent()
    run = RunDirectory.open(Path(arguments[0]))
    if arguments[1:] in ([], ["replay"]):
        return _rank(run, _replay if arguments[1:] else _work)
    return _compile(run, int(arguments[1]))


def _compile(run: RunDirectory, ranks: int) -> int:
    try:
        config = load_config(run.config, check_files=False)
        rehearse(config, prepared_material(config), ranks, one_machine=True)
        return 0
    except BaseException as error:
        return _fail(run, error)


Work: TypeAlias = Callable[[RunDirectory, Config, Material, Communicator, Pulse], int]


def _rank(run: RunDirectory, work: Work) -> int:
    pulse = Pulse(rank_by_environment() or 0)
    with _stacks_in(run), Sender(pulse, watcher()):
        try:
            pulse.enter(PREPARING)
            config = load_config(run.config, check_files=False)
            material = prepared_material(config, prepared())
            pulse.enter(STARTING)
            return work(run, config, material, Watched(_world(), pulse), pulse)
        except BaseException as error:
            return _fail(run, error)


def train(config: Path, overrides: Sequence[str], run: Path | None) -> int:
    """A rank of somebody else's mpirun that trains a new run."""
    die_with_parent()
    with told_once():
        resolved = resolve(load_config(config, overrides), config.parent)
        with located(config, overrides):
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
    return _guarded(RunDirectory(Path(path)), resolved, material, comm)


def resume(run: Path) -> int:
    """A rank of somebody else's mpirun that continues a run."""
    die_with_parent()
    with told_once():
        directory = RunDirectory.open(run)
        config = load_config(directory.config, check_files=False)
        material = prepared_material(config)
    return _guarded(directory, config, material, _world())


def _guarded(run: RunDirectory, config: Config, material: Material, comm: Communicator) -> int:
    """Train under somebody else's mpirun."""
    pulse, limits = Pulse(comm.rank), Limits.of(config.launch)
    with _stacks_in(run), watching_each_other(comm, pulse, limits, _end_hung) as watched:
        try:
            return _work(run, config, material, watched, pulse)
        except BaseException as error:
            return _fail(run, error)


def _work(run: RunDirectory, config: Config, material: Material, comm: Communicator, pulse: Pulse) -> int:
    """Train to the end, or until asked to stop after a checkpoint."""
    show = None if launched() else _show
    with _alone(run, comm), RunObserver(run, config, comm, show, pulse) as observer:
        try:
            outcome = train_run(run, config, material, comm, observer)
        except Interrupted as error:
            comm.barrier()
            _say(comm, f"{error}; continue with: distprop resume {run.path}")
            return error.exit_code
    _say(comm, f"model   {run.model}\ndigest  {outcome.model.digest()}")
    return 0


def _replay(folder: RunDirectory, config: Config, material: Material, comm: Communicator, pulse: Pulse) -> int:
    """Compute a window of another run again, which is described in the folder."""
    try:
        replay(folder, config, material, comm, pulse)
    except Interrupted as error:
        comm.barrier()
        return error.exit_code
    return 0


@contextlib.contextmanager
def _stacks_in(run: RunDirectory) -> Iterator[None]:
    """Write the stacks of all threads to this rank's log if it crashes, and when the signal STACKS comes."""
    run.logs.mkdir(exist_ok=True)  # a copy of the run has none
    with run.log(rank_by_environment() or 0).open("a") as log:
        faulthandler.enable(log)
        faulthandler.register(STACKS, log)
        try:
            yield
        finally:
            faulthandler.unregister(STACKS)
            faulthandler.disable()


def _end_hung() -> None:
    """End all ranks, from any thread: if MPI can't any more, this process ends alone, which mpirun notices."""
    faulthandler.dump_traceback_later(END_S, exit=True)
    _abort(HUNG)


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
    run.begin(config)
    return run


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """Errors that every rank meets alike are told by rank 0; one that rank 0 doesn't meet is told a little later."""
    try:
        yield
    except DistpropError as error:
        if rank_by_environment():
            time.sleep(LATE_S)
        if not (rank_by_environment() and rank_0_has_ended()):  # it has told it
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
    if isinstance(error, OSError) and error.errno in FULL:
        place = error.filename or f"{run.path} or {cache_folder('')}"
        return f"{place}: {error.strerror}; make room, then: distprop resume {run.path}"
    return traceback.format_exc()


def _may_pass(error: BaseException) -> bool:
    """Whether another start may go well: after errors of MPI or the system, but not of a disk, and bits that flip."""
    if isinstance(error, OSError):
        return error.errno not in FULL
    return isinstance(error, DivergedError) or type(error).__module__.split(".")[0] == "mpi4py"


def _record(run: RunDirectory, rank: int, error: BaseException, text: str, code: int) -> bool:
    """Whether the failure is in the run directory. A full disk must not keep this rank from ending the others."""
    try:
        run.write_failure(rank, type(error).__name__, text, code, may_pass=_may_pass(error))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
