"""A window of a run, computed again by ranks, in a folder of its own: only digests of the parameters come of it."""

import json
from pathlib import Path

from distprop.comm.communicator import Communicator
from distprop.config.run import Config
from distprop.errors import CheckpointError, Interrupted
from distprop.heartbeat.pulse import Pulse
from distprop.replay import Window
from distprop.run_directory import RunDirectory, age_of, generations
from distprop.training.checkpoint import Checkpoint, Checkpoints, OtherRunError, Progress
from distprop.training.guards import agree, ingredients
from distprop.training.loop import CHECKPOINT, STOP, Training
from distprop.training.observer import RunObserver
from distprop.training.run import Material, compile_kernels, made_of


class ReplayObserver(RunObserver):
    """Looks at the steps of which the run has recorded a digest, and ends training after the last one."""

    def __init__(self, folder: RunDirectory, config: Config, comm: Communicator, window: Window, pulse: Pulse) -> None:
        super().__init__(folder, config, comm, None, pulse)
        self._window = window

    def most_steps(self, progress: Progress) -> int:
        ahead = [step - progress.step for step in (*self._window.steps, self._window.last) if step > progress.step]
        return min([super().most_steps(progress), *ahead])

    def wish(self, progress: Progress, steps: int) -> int:
        window, done = self._window, progress.step + steps
        is_over = done > window.last or (done == window.last and not window.is_end)
        return (STOP if is_over or self._requests.count else 0) | (CHECKPOINT if done in window.steps else 0)

    def save(self, checkpoint: Checkpoint) -> str | None:
        """Only its digest is kept."""
        self._append({"kind": "digest", "step": checkpoint.progress.step, "digest": checkpoint.digest})
        return None

    def replayed(self, progress: Progress, digest: str) -> None:
        """The window has been computed. digest: of the model that came of it, if the run ends with the window."""
        if self._writes:
            self._run.write_status(self._record("done", progress) | {"digest": digest})


def replay(folder: RunDirectory, config: Config, material: Material, comm: Communicator, pulse: Pulse) -> None:
    """Compute a window again, from the newest checkpoint before it. Raises Interrupted if asked to stop."""
    window, digest = Window.read(folder.path), made_of(config, material)
    agree(comm, ingredients(digest))
    observer = ReplayObserver(folder, config, comm, window, pulse)
    with observer:
        compile_kernels(config, material, comm, observer.compiling)
        training = Training(config, comm, material.data, material.validation, material.encoding, observer, digest)
        observer.loading()
        checkpoint = _newest(window, digest, comm, observer)
        if checkpoint:
            training.restore(checkpoint)
        observer.training(training.progress, training.total_steps, training.steps_per_epoch)
        observer.save(training.checkpoint())
        observer.replayed(training.progress, _train(training, window, observer))
        comm.barrier()


def _train(training: Training, window: Window, observer: ReplayObserver) -> str:
    """Train to the end of the window; the digest of the model, if there is one then."""
    if training.progress.step == window.last and not window.is_end:
        return ""
    try:
        return training.run().model.digest()
    except Interrupted:
        if training.progress.step < window.last:
            observer.stopped(training.progress)
            raise
        return ""


def _newest(window: Window, digest: str, comm: Communicator, observer: ReplayObserver) -> Checkpoint | None:
    """The newest good checkpoint at or before the window, the same on all ranks; None: begin at step 0."""
    checkpoints = Checkpoints(Path(window.run) / "checkpoints", keep=2)
    found: Checkpoint | None = None
    error = ""
    try:
        if comm.rank == 0:
            found = _newest_good(checkpoints, window.first, digest, observer)
    except OtherRunError as caught:
        error = str(caught)
    name, error = json.loads(comm.broadcast(json.dumps([found.name if found else "", error])))
    if error:
        raise CheckpointError(error)
    return found or (checkpoints.read(name, digest) if name else None)


def _newest_good(checkpoints: Checkpoints, first: int, digest: str, observer: ReplayObserver) -> Checkpoint | None:
    for path in generations(checkpoints.path):
        if age_of(path.name)[0] <= first:
            try:
                return checkpoints.read(path.name, digest)
            except OtherRunError:
                raise
            except CheckpointError as error:
                observer.warn(f"{error}; going back further")
    return None
