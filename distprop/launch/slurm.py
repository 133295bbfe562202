"""The sbatch script of a run: it trains, stops with a checkpoint before its time is over, queues again and goes on."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from distprop.errors import UsageError
from distprop.launch.clusters import plain_text

TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")
OPTION = re.compile(r"[a-z][a-z0-9-]*(?:=.*)?")
OURS = ("job-name", "nodes", "ntasks-per-node", "time", "requeue", "no-requeue", "open-mode", "signal", "array")

SCRIPT = """\
#!/bin/bash
{directives}

# Trains, or goes on with what an earlier start of this job has left. Exit code 75: stopped with a checkpoint.
cd {folder} || exit 2
stop() {{
    trap '' USR1
    kill -TERM "$training"
}}
trap stop USR1
{python} -m distprop.cli train {train} --run {run} --or-resume{settings} &
training=$!
wait "$training"
code=$?
if [ "$code" -gt 128 ]; then  # a signal has ended the wait, not the training
    wait "$training"
    code=$?
fi
if [ "$code" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


@dataclass(frozen=True)
class Job:
    """What Slurm is asked for. `options` are further ones of sbatch, such as partition=short."""

    name: str
    nodes: int
    ntasks_per_node: int
    time: str | None = None
    stop_before_s: int = 120
    options: tuple[str, ...] = ()


def sbatch_script(job: Job, config: Path, overrides: Sequence[str], run: Path | None, folder: Path, python: str) -> str:
    """The script of a job that trains `config` in `folder`, or goes on with its run. UsageError for odd requests.

    Without a `run`, each job has one of its own: runs/<name of the configuration>-<number of the job>.
    """
    return plain_text(
        SCRIPT.format(
            directives="\n".join(f"#SBATCH {option}" for option in _directives(job)),
            folder=quote(str(folder)),
            run=quote(str(run)) if run else f'{quote(f"runs/{config.stem}")}-"$SLURM_JOB_ID"',
            train=quote(str(config)),
            settings="".join(f" --set {quote(override)}" for override in overrides),
            python=quote(python),
        ),
        "distprop slurm",
    )


def _directives(job: Job) -> list[str]:
    _check_time(job)
    options = {"job-name": job.name, "nodes": str(job.nodes), "ntasks-per-node": str(job.ntasks_per_node)}
    options |= {"time": job.time} if job.time else {}
    options |= {"open-mode": "append", "signal": f"B:USR1@{job.stop_before_s}"}
    given = [_option(option) for option in job.options]
    return [*(f"--{name}={_quoted(value)}" for name, value in options.items()), "--requeue", *given]


def _option(text: str) -> str:
    name, equals, value = text.partition("=")
    if not OPTION.fullmatch(text):
        raise UsageError(f"--sbatch {text!r}: not an option of sbatch; write NAME=VALUE, such as partition=short")
    if name in OURS:
        raise UsageError(f"--sbatch {text}: distprop slurm sets {name} itself; leave it out")
    return f"--{name}={_quoted(value)}" if equals else f"--{name}"


def _quoted(value: str) -> str:
    """As sbatch reads the lines of a script. No quoting can keep a value of several lines together."""
    if not value.isprintable():
        raise UsageError(f"{value!r}: sbatch takes no such characters; choose another name")
    if re.fullmatch(r"[\w@%+=:,./-]+", value, re.ASCII):
        return value
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'


def _check_time(job: Job) -> None:
    """UsageError for a time that sbatch doesn't understand, or that leaves none for training."""
    if job.time is None:
        return
    found = TIME.fullmatch(job.time)
    if not found:
        raise UsageError(f"--time {job.time!r}: not a time; write minutes, H:MM:SS, or D-HH:MM:SS")
    seconds = _seconds(found["days"], found["parts"])
    if seconds < 2 * job.stop_before_s:
        raise UsageError(
            f"--time {job.time}: training stops {job.stop_before_s} seconds before, which leaves too little; "
            "give more time, or a smaller --stop-before"
        )


def _seconds(days: str | None, parts: str) -> int:
    """Without days, one number is minutes and two are minutes and seconds; behind days the first one is hours."""
    numbers = [int(part) for part in parts.split(":")]
    if days is None and len(numbers) < 3:
        numbers = [0, *numbers]
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def submit(script: str) -> str:
    """Hand a script to sbatch; return the number of the job."""
    if shutil.which("sbatch") is None:
        raise UsageError("--submit: there is no sbatch on PATH; print the script, and submit it where Slurm is")
    done = subprocess.run(["sbatch", "--parsable"], input=script, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(f"sbatch refused the job: {' '.join(done.stderr.split())}")
    return done.stdout.strip().partition(";")[0]
