"""R4: files that are not as they were written: all of it is noticed, the file is named, the one before is taken."""

import random
import shutil

import pytest

from distprop.errors import CheckpointError
from distprop.training.checkpoint import Checkpoints

OLD, NEW = 6, 7
FILES = ("params.safetensors", "optimizer.safetensors", "best.safetensors", "manifest.json")


@pytest.fixture
def folder(faults, memory):
    """Checkpoints of two steps."""
    return faults.states.folder_with(memory / "checkpoints", OLD, NEW).path


def newest(faults, folder):
    return folder / faults.states.checkpoint(NEW).name


def missed(faults, folder, named):
    """Why a damage counts as missed; None if it was noticed, named, and the one before taken with its bits."""
    try:
        found, problems = Checkpoints(folder, keep=2).load(faults.states.CONFIG)
    except CheckpointError as error:
        return f"the one before is not taken: {error}"
    if found is None or found.progress.step != OLD:
        return "not noticed"
    if not faults.states.same(found, faults.states.checkpoint(OLD)):
        return "other bits than those of the one before"
    if len(problems) != 1 or not problems[0].startswith(str(named)) or "\n" in problems[0]:
        return f"{named} is not named: {problems}"
    return None


def is_whole(faults, folder):
    """The newest checkpoint is as it was: so the test itself has left nothing."""
    found, problems = Checkpoints(folder, keep=2).load(faults.states.CONFIG)
    return problems == [] and faults.states.same(found, faults.states.checkpoint(NEW))


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 17])
def test_a_file_that_is_cut_short_is_noticed(faults, folder, step):
    count = 0
    for name in FILES:
        path = newest(faults, folder) / name
        content = path.read_bytes()
        for length in range(0, len(content), step):
            path.write_bytes(content[:length])
            assert missed(faults, folder, path) is None, (name, length)
            count += 1
        path.write_bytes(content)
    assert is_whole(faults, folder)
    print(f"{count} truncations")


@pytest.mark.parametrize("flips", [pytest.param(20_000, marks=pytest.mark.long), 1500])
def test_a_flipped_bit_is_noticed_wherever_it_is(faults, folder, flips):
    print(f"seed {faults.seed}")
    rng = random.Random(faults.seed)
    paths = [newest(faults, folder) / name for name in FILES]
    contents = [path.read_bytes() for path in paths]
    for _ in range(flips):
        ((path, content),) = rng.choices(list(zip(paths, contents, strict=True)), [len(c) for c in contents])
        bit = rng.randrange(8 * len(content))
        with path.open("r+b") as file:
            file.seek(bit // 8)
            file.write(bytes([content[bit // 8] ^ 1 << bit % 8]))
        assert missed(faults, folder, path) is None, (path.name, bit)
        with path.open("r+b") as file:
            file.seek(bit // 8)
            file.write(content[bit // 8 : bit // 8 + 1])
    assert is_whole(faults, folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", ["missing", "longer", "of another checkpoint", "of another program", "empty"])
def test_a_file_that_is_another_one_is_noticed(faults, folder, name, change):
    path = newest(faults, folder) / name
    other = folder / faults.states.checkpoint(OLD).name / name
    if change == "missing":
        path.unlink()
    elif change == "longer":
        path.write_bytes(path.read_bytes() + b"\0")
    elif change == "of another checkpoint":
        shutil.copyfile(other, path)
    else:
        path.write_bytes(b"" if change == "empty" else b"PK\x03\x04 this is an archive")
    assert missed(faults, folder, path) is None


def test_two_files_that_changed_places_are_noticed(faults, folder):
    params, best = (newest(faults, folder) / name for name in ("params.safetensors", "best.safetensors"))
    params.rename(folder / "aside")
    best.rename(params)
    (folder / "aside").rename(best)
    assert missed(faults, folder, newest(faults, folder)) is None


def test_two_checkpoints_that_changed_places_are_noticed(faults, folder):
    new, old = newest(faults, folder), folder / faults.states.checkpoint(OLD).name
    new.rename(folder / "aside")
    old.rename(new)
    (folder / "aside").rename(old)
    with pytest.raises(CheckpointError) as caught:
        Checkpoints(folder, keep=2).load(faults.states.CONFIG)
    assert str(new / "manifest.json") in str(caught.value) and str(old / "manifest.json") in str(caught.value)


def test_a_foreign_file_is_noticed(faults, folder):
    foreign = newest(faults, folder) / "results.xlsx"
    foreign.write_bytes(b"")
    assert missed(faults, folder, foreign) is None
    assert foreign.exists()


def test_a_file_that_can_not_be_read_is_named(faults, folder):
    path = newest(faults, folder) / "params.safetensors"
    path.unlink()
    path.mkdir()
    assert missed(faults, folder, path) is None


def test_if_none_is_whole_training_does_not_start_again(faults, folder):
    for path in folder.iterdir():
        (path / "best.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        Checkpoints(folder, keep=2).load(faults.states.CONFIG)
    text = str(caught.value)
    assert text.count("best.safetensors: damaged") == 2 and "\n" not in text and caught.value.exit_code == 4
    assert text.endswith("no checkpoint of this run is left to go on from; start a new run")
