"""The same as saving.py, but the faults come from the kernel's side of each system call: traced.py FOLDER FAULT...

A process that is about to write a checkpoint is stopped by strace, which lets one of its calls fail with an errno, or
kills the process as it is made ("KILL"). Prints "can't trace" if strace isn't allowed to do that here.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from saving import attempt, check, prepare
from states import checkpoint

from distprop.errors import CheckpointError

TRACE = "trace=%file,%desc"  # all calls about names and descriptors


def save_in_child(checkpoints):
    """A process that has stopped, and will save when it is told to go on; its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.kill(os.getpid(), signal.SIGSTOP)
            checkpoints.save(checkpoint(7))
            code = 0
        except CheckpointError:
            code = 4
        finally:
            os._exit(code)
    os.waitpid(child, os.WUNTRACED)
    return child


def traced(checkpoints, log, *options):
    """Save under strace; the exit code, or minus the signal. None if it can't be traced."""
    child = save_in_child(checkpoints)
    strace = subprocess.Popen(
        ["strace", "-p", str(child), "-o", log, "-e", TRACE, *options], stderr=subprocess.PIPE, text=True
    )
    attached = "attached" in strace.stderr.readline()
    os.kill(child, signal.SIGCONT)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    strace.communicate()
    return code if attached else None


def calls_in(log):
    """How often each system call was made."""
    names = re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE)
    return Counter(name for name in names if name != "exit_group")


def run(folder, scenario, faults):
    """Each fault at each system call; None if nothing can be traced."""
    log = folder.with_name("strace.log")
    if traced(prepare(folder, scenario), log) is None:
        return None
    counts, outcomes = calls_in(log), []
    for fault in faults:
        points, problems = 0, []
        for name, count in sorted(counts.items()):
            for number in range(1, count + 1):
                what = "signal=KILL" if fault == "KILL" else f"error={fault}"
                code = traced(prepare(folder, scenario), log, "-e", f"inject={name}:{what}:when={number}")
                points += code == -9 or "(INJECTED)" in log.read_text()
                problem = check(folder, scenario, code == 0)
                problems += [f"{scenario}, {fault} at {name} {number}: {problem}"] if problem else []
        outcomes.append({"scenario": scenario, "fault": fault, "points": points, "problems": problems})
    return outcomes


if __name__ == "__main__":
    place = Path(sys.argv[1])
    attempt(prepare(place, "usual"), "EIO", -1)
    found = [run(place, scenario, sys.argv[2:]) for scenario in ("usual", "replaced")]
    print("can't trace" if None in found else json.dumps([one for outcomes in found for one in outcomes]))
