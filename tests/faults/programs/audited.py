"""Loads checkpoints, and lists all that Python itself reports meanwhile that must not happen: audited.py GOOD FOLDER...

Prints a JSON object: for each folder what loading said, and what it did that it should not. GOOD is loaded first,
so that all modules are there.
"""

import json
import sys
from pathlib import Path

from states import CONFIG

from distprop.errors import CheckpointError
from distprop.training.checkpoint import Checkpoints

FORBIDDEN = ("pickle.", "exec", "compile", "import", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.",
             "socket.", "ctypes.", "marshal.", "os.symlink", "os.link", "os.chmod")  # fmt: skip
ON_FILES = ("open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")

REMOVING = ("os.remove", "os.rmdir")  # from which folder is their second argument


class Watch:
    """An audit hook, which can't be taken away again. inside: the folder that is being loaded, None for none."""

    def __init__(self) -> None:
        self.inside: str | None = None
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.inside is None:
            return
        if (
            event == "compile" and arguments[1] == "<unknown>"
        ):  # ast.literal_eval: only parsed; exec would be an event too
            return
        if event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments[:1]}")
        # What is named by a descriptor, or from one, lies where that was opened, which was seen.
        if event in ON_FILES and (isinstance(arguments[0], int) or (event in REMOVING and arguments[1] != -1)):
            return
        if event in ON_FILES and arguments[0] is not None and not str(arguments[0]).startswith(self.inside):
            self.seen.append(f"{event} {arguments[0]}")


def load(folder: Path) -> str:
    """What loading says."""
    try:
        found, _ = Checkpoints(folder, 2).load(CONFIG)
    except CheckpointError as error:
        return str(error)
    return "loaded" if found else "nothing there"


def misbehave() -> None:
    """To see that the hook sees."""
    import pickle

    Path("/dev/null").open().close()
    pickle.loads(pickle.dumps(print))
    eval("1")


if __name__ == "__main__":
    watch, outcomes = Watch(), {}
    load(Path(sys.argv[1]))
    sys.addaudithook(watch)
    for folder in sys.argv[2:]:
        watch.inside, watch.seen = folder, []
        said = load(Path(folder))
        watch.inside = None
        outcomes[folder] = {"said": said, "did": watch.seen}
    watch.inside, watch.seen = "/nowhere", []
    misbehave()
    watch.inside = None
    print(json.dumps({"outcomes": outcomes, "misbehaved": watch.seen}))
