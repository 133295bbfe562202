"""One run directory's run, on one rank: from prepared data to the saved model."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from distprop.comm.communicator import Communicator
from distprop.comm.threads import run_ranks
from distprop.compiled import compiled_mark, is_there
from distprop.config import config_digest
from distprop.config.run import Config
from distprop.data.dataset import Dataset
from distprop.data.encoding import Encoding
from distprop.data.fit import check_values
from distprop.data.prepare import find_prepared, prepare
from distprop.errors import CheckpointError, Interrupted, NonFiniteError
from distprop.kernels.jit import kernel_cache
from distprop.manifest import sum_of
from distprop.run_directory import RunDirectory, age_of, generations
from distprop.training.checkpoint import NONE_LEFT, Checkpoint
from distprop.training.guards import agree, ingredients
from distprop.training.loop import Outcome, Silent, Training
from distprop.training.observer import RunObserver


@dataclass(frozen=True)
class Material:
    """The data that a model is made of. `digest`: equal wherever they are equal."""

    data: Dataset
    validation: Dataset | None
    encoding: Encoding
    digest: str


def prepared_material(config: Config, key: str = "") -> Material:
    """The data that a resolved configuration names, prepared if they aren't yet. Raises DataError.

    key: the name of these data, if somebody has prepared them; the sources need not be here then.
    """
    prepared = find_prepared(key) or prepare(config.data, config.seed, config.dtype)
    check_values(config.data, prepared, config.network.loss)
    validation = Dataset.open(prepared.validation) if prepared.validation else None
    return Material(Dataset.open(prepared.training), validation, prepared.encoding, prepared.digest)


def made_of(config: Config, material: Material) -> str:
    """What tells a model from others, before it is trained: digests of the configuration and of the data."""
    return f"{config_digest(config)} {material.digest}"


def train_run(
    run: RunDirectory, config: Config, material: Material, comm: Communicator, observer: RunObserver
) -> Outcome:
    """Train what is left of a run and save its model. Raises Interrupted after a checkpoint if asked to stop."""
    digest = made_of(config, material)
    agree(comm, ingredients(digest))  # before anything is made of what may differ
    compile_kernels(config, material, comm, observer.compiling)
    training = Training(config, comm, material.data, material.validation, material.encoding, observer, digest)
    observer.loading()
    checkpoint = agreed_checkpoint(run, digest, comm, observer)
    if checkpoint:
        training.restore(checkpoint)
        observer.resumed(checkpoint)
    observer.training(training.progress, training.total_steps, training.steps_per_epoch)
    try:
        outcome = training.run()
    except Interrupted:
        observer.stopped(training.progress)
        raise
    observer.ending()
    if comm.rank == 0:
        outcome.model.save(run.model)
        observer.finished(outcome.progress, outcome.model.digest(), sum_of(run.model))
    comm.barrier()
    return outcome


def agreed_checkpoint(run: RunDirectory, config: str, comm: Communicator, observer: RunObserver) -> Checkpoint | None:
    """The newest checkpoint that verifies, the same on every rank; None for a new run: a collective.

    Every rank reads and hashes what rank 0 goes on from. Raises CheckpointError, on all ranks, if the run had
    checkpoints and none verifies; if newer ones don't, rank 0 warns.
    """
    found: Checkpoint | None = None
    problems: list[str] = []
    error = ""
    try:
        if comm.rank == 0:
            run.remove_leftovers()
            observer.checkpoints.remove_leftovers()
        found, problems = observer.checkpoints.load(config)
        problems = [*_missing(run), *problems] if comm.rank == 0 else problems
    except CheckpointError as caught:
        error = str(caught)
    if problems and found is None and not error:
        error = f"{problems[0]}; {NONE_LEFT}"
    name, error = json.loads(comm.broadcast(json.dumps([found.name if found else "", error])))
    if error:
        raise CheckpointError(error)
    if problems and comm.rank == 0:
        observer.warn(f"{'; '.join(problems)}; going on from {name}")
    if found and found.name == name:
        return found
    return observer.checkpoints.read(name, config) if name else None


def _missing(run: RunDirectory) -> list[str]:
    """The checkpoint that the metrics tell of, if neither it nor a newer one is there."""
    name, there = run.recorded_checkpoint(), generations(run.checkpoints)
    if name is None or (there and age_of(there[0].name) >= age_of(name)):
        return []
    return [f"{run.checkpoints / name}: is missing"]


def compile_kernels(config: Config, material: Material, comm: Communicator, announce: Callable[[], None]) -> None:
    """Compile what this run calls, unless that has been done: before its own launcher starts the ranks, if it has one.

    The ranks of a machine share the work.
    """
    if not is_there(compiled_mark(config, material.data, material.validation, comm.size, comm.shares_memory)):
        announce()
        rehearse(config, material, comm.size, comm.shares_memory)


def rehearse(config: Config, material: Material, ranks: int, one_machine: bool) -> None:
    """Compile by training for one step on a few rows: so exactly the kernels of this run are compiled, for its types.

    Two ranks, as threads, stand for any larger number of them; on several machines three, two of them on one.
    """
    few = replace(config.training, epochs=None, steps=1, early_stopping=None, timeline=None)
    rehearsal = replace(config, training=few)
    data, validation = material.data, material.validation
    few_held_out = None if validation is None else _head(validation)

    def train(rank: Communicator) -> None:
        Training(rehearsal, rank, _head(data), few_held_out, material.encoding, Silent(), "").run()

    with suppress(NonFiniteError):  # which the run itself will tell, if it meets it
        machines = [min(ranks, 2)] if one_machine else [min(ranks - 1, 2), 1]
        run_ranks(sum(machines), train, machines=machines)
    with suppress(OSError):  # without the mark, the next run looks itself whether all is there
        (kernel_cache() / compiled_mark(config, data, validation, ranks, one_machine)).touch()


def _head(data: Dataset, rows: int = 4) -> Dataset:
    """The first few samples."""
    if data.rows is not None:
        return replace(data, rows=data.rows[:rows])
    names = ("labels", "targets", "weights")
    few = {name: None if getattr(data, name) is None else getattr(data, name)[:rows] for name in names}
    return replace(data, features=data.features[:rows], **few)
