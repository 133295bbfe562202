"""Writes one checkpoint again and again, each with a fault at another call: saving.py FOLDER SCENARIO:FAULT...

A fault is the name of an errno, or "exit": the process ends there at once, as after kill -9, in the middle of a write
if the call is one. Prints one JSON list: for each scenario and fault how many calls there were, and all problems.

Scenarios: "usual": the newest of two is written and the oldest removed; "replaced": one of the same name that is
damaged makes room.
"""

import errno
import json
import os
import shutil
import sys
from pathlib import Path

from calls import Calls
from states import checkpoint, folder_with, problem_of

from distprop.errors import CheckpointError
from distprop.training.checkpoint import Checkpoints

DAMAGED = checkpoint(7).name


def prepare(folder, scenario):
    """Steps 5 and 6 are there, and step 7 is about to be written."""
    shutil.rmtree(folder, ignore_errors=True)
    checkpoints = folder_with(folder, 5, 6)
    if scenario == "replaced":
        shutil.copytree(folder / checkpoint(6).name, folder / DAMAGED)  # its manifest has another name
    return checkpoints


def faulty(fault, at):
    """What happens before each call: nothing but at one of them."""

    def before(number, name, path, arguments):
        if number != at:
            return
        if fault == "exit":
            if name == "write":
                os.pwrite(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2], os.fstat(arguments[0]).st_size)
            os._exit(9)
        raise OSError(getattr(errno, fault), os.strerror(getattr(errno, fault)))

    return before


def attempt(checkpoints, fault, at):
    """Save step 7 with a fault; how many calls there were, and whether it was saved. Ends with the process, maybe."""
    with Calls(checkpoints.path, faulty(fault, at)) as calls:
        try:
            checkpoints.save(checkpoint(7))
        except CheckpointError as error:
            assert str(checkpoints.path) in str(error) and "\n" not in str(error), error
            return calls.count, False
    return calls.count, True


def in_child(checkpoints, fault, at):
    """The same in a process of its own. None for how many calls there were if it has died of the fault."""
    child = os.fork()
    if child == 0:
        attempt(checkpoints, fault, at)
        os._exit(0)
    return None if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9 else 0


def check(folder, scenario, saved):
    """What is wrong after the fault, and after the next checkpoint that a new process writes."""
    damaged = (DAMAGED,) if scenario == "replaced" else ()
    allowed = (7,) if saved else (6, 7)
    problem = problem_of(folder, allowed, 2, damaged=() if saved else damaged)
    if problem is None:
        again = Checkpoints(folder, keep=2)
        again.load("settings data")
        again.save(checkpoint(8))
        problem = problem_of(folder, (8,), 2, damaged)
    return problem


def run(folder, scenario, fault):
    """A fault at each call, one after the other."""
    problems, at = [], 0
    while True:
        checkpoints = prepare(folder, scenario)
        if fault == "exit":
            calls, saved = in_child(checkpoints, fault, at), False
            over = calls is not None
        else:
            calls, saved = attempt(checkpoints, fault, at)
            over = calls <= at
        problem = check(folder, scenario, saved)
        problems += [f"{scenario}, {fault} at call {at}: {problem}"] if problem else []
        if over:
            return {"scenario": scenario, "fault": fault, "points": at, "problems": problems}
        at += 1


if __name__ == "__main__":
    place = Path(sys.argv[1])
    attempt(prepare(place, "usual"), "EIO", -1)  # what is imported when it is first needed is no part of it
    print(json.dumps([run(place, *task.split(":")) for task in sys.argv[2:]]))
