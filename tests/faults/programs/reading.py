"""Gives hostile files to the command line, and lists what must not happen meanwhile: reading.py CASES.json

CASES.json: for each folder the arguments. Prints, as a JSON object, each one's exit code, what it said and did, and by
how many megabytes the memory has grown. All is done twice; the second time, when all modules are there, is watched.
"""

import contextlib
import io
import json
import os
import resource
import sys
from pathlib import Path

from audited import Watch, misbehave

from distprop.cli import main


def give(folder: str, arguments: list[str]) -> tuple[int, str]:
    """Exit code and output."""
    os.chdir(folder)
    os.environ["DISTPROP_CACHE"] = f"{folder}/cache"
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(arguments)
    return code, said.getvalue()


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    cases = json.loads(Path(sys.argv[1]).read_text())
    watch, outcomes, before = Watch(), {}, 0
    for folder, arguments in cases.items():
        give(folder, arguments)
        before = before or peak()
    grown = peak() - before
    sys.addaudithook(watch)
    for folder, arguments in cases.items():
        watch.inside, watch.seen = folder, []
        code, said = give(folder, arguments)
        watch.inside = None
        outcomes[folder] = {"code": code, "said": said, "did": watch.seen}
    watch.inside, watch.seen = "/nowhere", []
    misbehave()
    watch.inside = None
    print(json.dumps({"outcomes": outcomes, "misbehaved": watch.seen, "grown": grown}))
