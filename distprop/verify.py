"""Are the files of a run as they were written? Needs neither the network nor the data, and changes nothing."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from distprop.config import config_digest, load_config
from distprop.errors import CheckpointError, ConfigError
from distprop.manifest import Sum, check_file, check_folder, read_manifest
from distprop.report import counted, size
from distprop.run_directory import RunDirectory, age_of, generations


@dataclass(frozen=True)
class Finding:
    """One file of a run, or one checkpoint. problem: one line; None if all is well. detail: what there is of it."""

    name: str
    problem: str | None
    detail: str = ""


def verify(path: Path) -> list[Finding]:
    """Look at every file of the run in `path` that a resumed run or a user depends on. UsageError if none is there."""
    run = RunDirectory.open(path)
    names = [folder.name for folder in generations(run.checkpoints)]
    recorded = run.recorded_checkpoint()
    if recorded and (not names or age_of(names[0]) < age_of(recorded)):
        names.insert(0, recorded)
    checks: list[tuple[str, Callable[[RunDirectory], str]]] = [("config.toml", _config)]
    checks += [("status.json", _status)] if run.status.exists() else []
    checks += [("metrics.jsonl", _metrics)] if run.metrics.exists() else []
    findings = [_finding(run, name, check) for name, check in checks]
    looked_at = [_finding(run, f"checkpoints/{name}", _checkpoint(name)) for name in names]
    removed = set(names[1:]) - {folder.name for folder in generations(run.checkpoints)}  # by a training that goes on
    findings += [one for one in looked_at if one.name.removeprefix("checkpoints/") not in removed]
    if run.model.exists() or (run.read_status() or {}).get("phase") == "done":
        findings.append(_finding(run, "model.safetensors", _model))
    return findings


def report(findings: list[Finding]) -> str:
    """A line for each finding."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        text = f"BAD  {finding.problem}" if finding.problem else f"ok   {finding.detail}"
        lines.append(f"{finding.name:{width}}  {text}".rstrip())
    return "\n".join(lines)


def _finding(run: RunDirectory, name: str, check: Callable[[RunDirectory], str]) -> Finding:
    try:
        return Finding(name, None, check(run))
    except (CheckpointError, ConfigError) as error:
        problem = str(error).replace("\n", "; ")
    except OSError as error:
        problem = f"{run.path / name}: can't be read: {error.strerror}"
    return Finding(name, problem.replace(f"{run.path / name}/", "").replace(f"{run.path}/", ""))


def _config(run: RunDirectory) -> str:
    """It is the one that the checkpoints were made with, as far as these can tell."""
    digest = config_digest(load_config(run.config, check_files=False))
    made_with = {digest_of for folder in generations(run.checkpoints) for digest_of in _digests(folder)}
    if made_with and digest not in made_with:
        raise CheckpointError(f"{run.config}: isn't the configuration that the checkpoints were made with")
    return ""


def _digests(folder: Path) -> Iterator[str]:
    """Of the configuration that a checkpoint was made with, if it can tell."""
    try:
        yield str(read_manifest(folder).about.get("config")).split(" ")[0]
    except CheckpointError:
        return


def _status(run: RunDirectory) -> str:
    status = run.read_status()
    if status is None:
        raise CheckpointError(f"{run.status}: damaged: it isn't as it was written")
    return str(status["phase"])


def _metrics(run: RunDirectory) -> str:
    whole, _, _ = run.metrics.read_bytes().rpartition(b"\n")  # what follows was cut short by the end of its writer
    lines = whole.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            right = "step" in json.loads(line)
        except (ValueError, TypeError, RecursionError):
            right = False
        if not right:
            raise CheckpointError(f"{run.metrics}, line {number}: damaged: it isn't as it was written")
    return counted(len(lines), "line")


def _checkpoint(name: str) -> Callable[[RunDirectory], str]:
    def check(run: RunDirectory) -> str:
        files = check_folder(run.checkpoints / name).files
        return f"{counted(len(files), 'file')}, {size(sum(one.bytes for one in files.values()))}"

    return check


def _model(run: RunDirectory) -> str:
    """Against the sum in the record of the run's end; a model without one carries a sum of its content."""
    record = (run.read_status() or {}).get("model")
    if isinstance(record, dict):
        check_file(run.model, Sum(record.get("bytes", 0), record.get("sha256", "")))
    else:
        from distprop.training.tensors import load_tensors

        load_tensors(run.model)
    return size(run.model.stat().st_size)
