"""Starts a run: reads the configuration, prepares the data, places the ranks, shows the result."""

import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distprop.environment import LAUNCHED, PREPARED, WATCHER
from distprop.errors import Interrupted, ReplayError, UsageError
from distprop.heartbeat.interfaces import addresses, parse_interfaces
from distprop.heartbeat.watch import Limits
from distprop.launch.command import RANK_VARIABLES, Command, mpirun_command
from distprop.launch.cores import available_cores
from distprop.launch.hosts import Host, Place, parse_hostfile, parse_hosts
from distprop.launch.machine import allocated_nodes, allocated_slots, this_machine
from distprop.launch.mirror import Needs, supply
from distprop.launch.mpi import find_mpi
from distprop.launch.networks import check_networks, networks
from distprop.launch.preflight import HostsError, check_hosts
from distprop.launch.progress import Progress, Quiet
from distprop.launch.reach import answering
from distprop.launch.restarts import run_to_end
from distprop.launch.run import (
    KilledError,
    Ranks,
    RunFailedError,
    Stop,
    finish,
    stop_requests,
    stoppable,
    supervise,
)  # fmt: skip
from distprop.paths import cache_variables
from distprop.replay import compare, replay_object, table, window_of
from distprop.report import COMPILING, counted, duration, tell
from distprop.run_directory import RunDirectory, next_free

if TYPE_CHECKING:
    from distprop.config.run import Config
    from distprop.data.prepare import Prepared

UNEVEN = 1.1  # from here on it is worth saying which rank the others wait for

WORKER = (sys.executable, "-m", "distprop.worker")
MOST_COMPILERS = 8  # processes; there are some thirty kernels, of which a few take most of the time


def train(config: Path, overrides: Sequence[str], folder: Path | None, place: Place, *, dry_run: bool = False) -> int:
    """Train a configuration file's network in a new run directory; return the exit code."""
    from distprop.config import load_config, located, resolve

    resolved = resolve(load_config(config, overrides), config.parent)
    place = checked(place, resolved)
    if dry_run:
        settings = [word for override in overrides for word in ("--set", override)]
        print(shell_command(place, ["train", str(config), "--run", str(folder or next_free(config.stem)), *settings]))
        return 0
    with stoppable():
        with located(config, overrides):
            prepared = prepare_data(resolved)
        run = RunDirectory.create(folder) if folder else RunDirectory.create_named(config.stem)
        run.begin(resolved)
        try:
            return _launch(run, place, resolved, prepared)
        except HostsError:
            shutil.rmtree(run.path)
            raise


def resume(folder: Path, place: Place, *, dry_run: bool = False) -> int:
    """Continue a run; return the exit code."""
    from distprop.config import load_config, located

    run = RunDirectory.open(folder)
    config = load_config(run.config)
    place = checked(place, config)
    if dry_run:
        print(shell_command(place, ["resume", str(run.path)]))
        return 0
    status = run.read_status()
    if status and status["phase"] == "done" and run.model.exists():
        print(f"{run.path}: this run is done\n{summary(run, status)}")
        return 0
    with stoppable():
        with located(run.config):
            prepared = prepare_data(config)
        return _launch(run, place, config, prepared)


def replay(folder: Path, steps: tuple[int, int], place: Place, *, as_json: bool) -> int:
    """Compute a window of a run again and print how its digests compare. ReplayError if one differs."""
    from distprop.config import load_config, located, write_config

    run = RunDirectory.open(folder)
    window, config = window_of(run, *steps), load_config(run.config)
    place = checked(place, config)
    with stoppable(), located(run.config):
        prepared = prepare_data(config)
    with (
        run.held(),
        _folder_beside(run) as again,
        stop_requests() as stop,
        Quiet() if as_json else Progress() as progress,
    ):
        progress.note(f"{run.path}, steps {window.first} to {window.last}: {counted(place.ranks or 1, 'rank')}")
        window.write(again.path)
        write_config(replace(config, training=replace(config.training, timeline=None)), again.config)
        _compile(again, place, config, prepared, stop, progress.note)
        needs = Needs(run, again.path.name, window.first, prepared.folder, data_files(config))
        supervise(_supplied(needs, place, config, stop, progress, "replay"), again, progress, stop)
        found = compare(window, again)
    print(json.dumps(replay_object(window, found)) if as_json else table(found))
    different = [one for one in found if not one.same]
    if different:
        raise ReplayError(
            f"{run.path}: {len(different)} of {counted(len(found), 'digest')} are not those that were recorded, "
            f"from {different[0].what} on"
        )
    return 0


@contextmanager
def _folder_beside(run: RunDirectory) -> Iterator[RunDirectory]:
    """A folder for ranks, in that of the run: all hosts see it. It stays if only its logs can explain a failure."""
    folder = RunDirectory(Path(tempfile.mkdtemp(prefix="replay-", dir=run.path)))
    folder.logs.mkdir()
    unexplained = False
    try:
        yield folder
    except (Interrupted, KilledError) as error:
        raise type(error)(f"replay stopped; {run.path} is as it was") from None
    except RunFailedError as error:
        unexplained = error.exit_code == 1
        raise
    finally:
        if not unexplained:
            shutil.rmtree(folder.path)


def prepare_data(config: "Config") -> "Prepared":
    """Data are read here, before ranks start, so that what is wrong with them or the network for them is said."""
    from distprop.data.fit import check_values, fitting_graph
    from distprop.data.prepare import prepare

    prepared = prepare(config.data, config.seed, config.dtype)
    fitting_graph(config.network, prepared.encoding)
    check_values(config.data, prepared, config.network.loss)
    return prepared


def _launch(run: RunDirectory, place: Place, config: "Config", prepared: "Prepared") -> int:
    began = time.monotonic()
    assert place.ranks is not None and place.max_restarts is not None
    needs = Needs(run, "", math.inf, prepared.folder, data_files(config))
    find_mpi()  # if there is none, this is the time to say so
    _warn_if_crowded(place)
    tell(f"{run.path}: {counted(place.ranks, 'rank')}")
    with run.held(), stop_requests() as stop:
        for warning in check_hosts(place.hosts, place.interfaces):
            tell(f"warning: {warning}", sys.stderr)
        _compile(run, place, config, prepared, stop, tell)
        with Progress() as progress:

            def ranks(again: bool) -> Ranks:
                if not again:
                    return _supplied(needs, place, config, stop, progress)
                try:
                    return _supplied(needs, _left_of(place, progress), config, stop, progress)
                except HostsError as error:
                    raise RunFailedError(str(error), kind="unreachable", may_pass=True) from None

            status = run_to_end(ranks, run, progress, stop, place.max_restarts)
        progress.note(summary(run, status, time.monotonic() - began))  # a request to stop comes too late for it
    return 0


def _compile(
    run: RunDirectory, place: Place, config: "Config", prepared: "Prepared", stop: Stop, say: Callable[[str], None]
) -> None:
    if not _compiled(place, config, prepared):
        say(COMPILING)
        processes = min(place.ranks or 1, available_cores().budget, MOST_COMPILERS)
        finish(compiling_command(place, run.path), run, processes, stop, Limits.of(config.launch).compile_s)


def data_files(config: "Config") -> list[Path]:
    """The files of which data are prepared."""
    sources = [source for source in (config.data.train, config.data.validation) if source is not None]
    names = [[source] if isinstance(source, str) else [*vars(source).values()] for source in sources]
    return [Path(name) for of_source in names for name in of_source if name is not None]


def _supplied(needs: Needs, place: Place, config: "Config", stop: Stop, progress: Progress, *what: str) -> Ranks:
    """What starts the ranks, when all that they read is on their hosts. HostsError if that can't be."""
    limits = Limits.of(config.launch)
    copies = supply(needs, place.hosts, progress.note, max(limits.compile_s, limits.save_s), stop)
    place = replace(place, hosts=copies.after_others(place.hosts))
    ranks = ranks_of(place, needs.folder.path, limits, *what, prepared=needs.data.name)
    return replace(ranks, fetch=copies.fetch)


def _left_of(place: Place, progress: Progress) -> Place:
    """The place for another start: without the hosts that don't answer. RunFailedError if too few ranks are left."""
    if not place.hosts:
        return place
    hosts = answering(place.hosts)
    left = replace(place, hosts=hosts)
    gone = ", ".join(host.name for host in place.hosts if host not in hosts)
    if left.slots < (place.min_ranks or 1):
        text = f"{gone} don't answer, so only {counted(left.slots, 'rank')} could be started (launch.min_ranks)"
        raise RunFailedError(text, kind="unreachable", may_pass=True)
    if gone:
        progress.warn(f"going on without {gone}, which can't be reached")
    assert place.ranks is not None
    return replace(left, ranks=min(place.ranks, left.slots) if gone else place.ranks)


def _compiled(place: Place, config: "Config", prepared: "Prepared") -> bool:
    """Whether there is nothing to compile for this machine. Ranks on several machines see to that themselves."""
    from distprop.compiled import compiled_mark, is_there
    from distprop.data.dataset import Dataset

    if _several_hosts(place):
        return True
    validation = Dataset.open(prepared.validation) if prepared.validation else None
    return is_there(
        compiled_mark(config, Dataset.open(prepared.training), validation, place.ranks or 1, one_machine=True)
    )


def checked(place: Place, config: "Config") -> Place:
    """The whole place; UsageError for interfaces that can't be used, or that were asked for and nothing would use."""
    whole = complete(place, config)
    if _several_hosts(whole) and whole.interfaces:
        check_networks(find_mpi(), whole.interfaces)
    elif place.interfaces:
        raise UsageError("--interface is about messages between hosts, and all ranks are on this one; leave it out")
    return whole


def complete(place: Place, config: "Config") -> Place:
    """The place with what the [launch] table says where the command line says nothing, and a number of ranks."""
    launch, shards = config.launch, config.training.shards or 1
    hosts = place.hosts
    if not hosts and launch.hosts:
        hosts = parse_hosts(launch.hosts)
    if not hosts and launch.hostfile:
        hosts = parse_hostfile(Path(launch.hostfile))
    ranks = place.ranks or launch.ranks or min(_slots(hosts), shards)
    if ranks > shards:
        raise UsageError(
            f"{ranks} ranks, but minibatches are cut into {counted(shards, 'shard')}: use at most "
            f"{counted(shards, 'rank')}, or start a new run with --set training.shards={ranks} "
            "(shards decide the order of sums, so that is another model)"
        )
    least = place.min_ranks or launch.min_ranks
    if least > ranks:
        raise UsageError(f"at least {counted(least, 'rank')} were asked for (min_ranks), but only {ranks} are started")
    most = launch.max_restarts if place.max_restarts is None else place.max_restarts
    interfaces = place.interfaces or (() if launch.interface is None else parse_interfaces(launch.interface))
    return Place(ranks, hosts, most, least, interfaces)


def _slots(hosts: tuple[Host, ...]) -> int:
    return Place(None, hosts).slots or allocated_slots(os.environ) or available_cores().budget


def ranks_of(place: Place, folder: Path, limits: Limits, *what: str, prepared: str = "") -> Ranks:
    """What starts the ranks of the run in `folder`. prepared: the name of its data in the cache."""
    assert place.ranks is not None
    variables = ({PREPARED: prepared} if prepared else {}) | (cache_variables() if place.hosts else {})

    def command(watcher: str) -> Command:
        return _mpirun(place, [*WORKER, str(folder.resolve()), *what], variables | {WATCHER: watcher})

    here = addresses([host.name for host in place.hosts], place.interfaces) if _several_hosts(place) else []
    return Ranks(command, place.ranks, limits, tuple(here))


def _several_hosts(place: Place) -> bool:
    return bool(place.hosts) or allocated_nodes(os.environ) > 1


def compiling_command(place: Place, folder: Path) -> Command:
    """The command that compiles what these ranks will call."""
    return Command((*WORKER, str(folder.resolve()), str(place.ranks)), {LAUNCHED: "1", **RANK_VARIABLES})


def shell_command(place: Place, arguments: Sequence[str]) -> Command:
    """A command for a shell, or for a job's script, that does the same without this launcher."""
    return _mpirun(place, [sys.executable, "-m", "distprop.cli", *arguments])


def _mpirun(place: Place, program: Sequence[str], variables: Mapping[str, str] | None = None) -> Command:
    """variables: of ranks that our launcher watches."""
    assert place.ranks is not None
    ours = {LAUNCHED: "1", **variables} if variables else {}
    mpi, machine, folder = find_mpi(), this_machine(), str(Path.cwd())
    between = networks(mpi, place.hosts, place.interfaces) if _several_hosts(place) else None
    return mpirun_command(mpi, program, place.ranks, place.hosts, machine, folder, ours, between)


def _warn_if_crowded(place: Place) -> None:
    slots = place.slots or available_cores().budget
    if place.ranks is not None and place.ranks > slots and allocated_nodes(os.environ) == 1:
        what = "slots on these hosts" if place.hosts else "cores for this process"
        tell(f"warning: {place.ranks} ranks share {slots} {what}; that is correct but slower", sys.stderr)


def summary(run: RunDirectory, status: dict[str, Any], seconds: float | None = None) -> str:
    """The result of a run that is done, and how long this start of it took."""
    epochs = [record for record in run.read_metrics() if record.get("kind") == "epoch"]
    rows: dict[str, Any] = {"model": run.model}
    if epochs and "validation_loss" in epochs[-1]:
        best = next(record for record in epochs if record["epoch"] == epochs[-1]["best_epoch"])
        rows["best epoch"] = f"{best['epoch']} of {epochs[-1]['epoch']}"
        numbers = {key: value for key, value in best.items() if key.startswith("validation_")}
        rows |= {key.replace("_", " "): f"{value:.4g}" for key, value in numbers.items() if isinstance(value, float)}
    if epochs and epochs[-1].get("imbalance", 1) > UNEVEN:
        rows["slowest"] = f"rank {epochs[-1]['slowest_rank']}, {epochs[-1]['imbalance']:.2f} times the mean rank's work"
    rows["digest"] = status.get("digest", "none")
    if seconds is not None:
        rows["time"] = duration(seconds)
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())
