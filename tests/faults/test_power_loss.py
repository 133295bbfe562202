"""R3: the power fails while checkpoints are written. Every state of the disk that may follow is looked at.

The writing is recorded, call by call; the states come from programs/power.py.
"""

import shutil

import pytest

from distprop import manifest

STEPS = (5, 6, 7, 8)  # the last two also remove one each


@pytest.fixture(scope="module")
def trace(faults, tmp_path_factory):
    """All that four checkpoints do to the disk, in pieces small enough that files have several, and where each ends."""
    folder = tmp_path_factory.mktemp("trace") / "checkpoints"
    checkpoints = faults.states.folder_with(folder)
    recorder = faults.power.Recorder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "PIECE_BYTES", 50)
        for step in STEPS:
            recorder.record(lambda step=step: checkpoints.save(faults.states.checkpoint(step)))
    return recorder


def problems(faults, events, marks, samples, memory, first=0):
    """How many states there are, and what is wrong with the first one that is bad, if any."""
    seen, known = 0, {}
    for done, state in faults.power.crash_states(events, samples, faults.seed, first):
        seen += 1
        saved = sum(mark <= done for mark in marks)
        key = (saved, tuple(sorted(state.items())))
        if key not in known:
            known[key] = check(faults, state, saved, memory / "state")
        if known[key]:
            return seen, f"after {done} calls: {known[key]}"
    return seen, None


def check(faults, state, saved, folder):
    """A checkpoint whose saving has returned is the newest or followed by the next one."""
    faults.power.write_state(folder, state)
    try:
        allowed = ((STEPS[saved - 1],) if saved else (0,)) + STEPS[saved : saved + 1]
        return faults.states.problem_of(folder, allowed, least=min(saved, 2))
    finally:
        shutil.rmtree(folder)


def test_whatever_of_the_writes_a_power_loss_leaves_the_newest_checkpoint_or_the_one_before_is_whole(
    faults, trace, memory
):
    print(f"seed {faults.seed}")
    seen, problem = problems(faults, trace.events, trace.marks, 3, memory)
    print(f"{seen} states")
    assert problem is None and seen >= 2000, (seen, problem)


@pytest.mark.long
def test_no_state_after_a_power_loss_is_bad(faults, trace, memory):
    print(f"seed {faults.seed}")
    seen, problem = problems(faults, trace.events, trace.marks, 150, memory)
    print(f"{seen} states")
    assert problem is None and seen >= 10_000, (seen, problem)


def fsyncs_of_the_last(trace):
    """The numbers of the fsyncs of the last checkpoint."""
    numbers = range(trace.marks[-2], trace.marks[-1])
    return [number for number in numbers if trace.events[number].name == "fsync"]


def test_each_file_and_each_folder_is_forced_to_disk_in_its_turn(trace):
    events = [trace.events[number] for number in range(trace.marks[-2], trace.marks[-1])]
    parts = [event.path.rsplit("/", 1)[-1][:6] if "/" in event.path else event.path[:6] for event in events]
    order = [(event.name, part) for event, part in zip(events, parts, strict=True) if event.name in ("fsync", "rename")]
    files = [("fsync", name) for name in ("params", "optimi", "best.s", "manife")]
    there, gone = [("fsync", ".step-"), ("rename", ".step-"), ("fsync", ".")], [("rename", "step-0"), ("fsync", ".")]
    assert order == [*files, *there, *gone]


@pytest.mark.parametrize("which", range(7))
def test_without_any_one_fsync_a_power_loss_does_harm(faults, trace, memory, which):
    number = fsyncs_of_the_last(trace)[which]
    events = [*trace.events[:number], *trace.events[number + 1 :]]
    marks = [mark - (mark > number) for mark in trace.marks]
    renames = [later for later in range(number, len(events)) if events[later].name == "rename"]
    _, problem = problems(faults, events, marks, 4, memory, first=renames[0] if renames else number)
    assert problem
