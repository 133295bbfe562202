"""Runs on hosts that don't share this one's files: before each start, what ranks read is sent there, and after their
end, what they have written is fetched.

    python -m distprop.launch.mirror STEP ...    a step on another host, which this module starts there

A copy of a run that was sent has a mark, and is removed when its ranks have ended. Folders without this mark are never
touched. Prepared data stay: they are sent once.
"""

import json
import re
import secrets
import shutil
import socket
import sys
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from typing import IO, Any

from distprop.errors import CheckpointError, DistpropError, Interrupted, UsageError
from distprop.launch.hosts import Host
from distprop.launch.preflight import HostsError
from distprop.launch.reach import Answer, ask, is_here, module_command, send
from distprop.launch.run import Stop
from distprop.manifest import check_folder
from distprop.paths import cache_folder
from distprop.replay import REPLAY
from distprop.report import size
from distprop.run_directory import RunDirectory, age_of, generations, write_whole

MARK = ".copy-of-distprop"  # a file in a copy of a run, with the token of the start for which it was sent
WRITTEN = re.compile(r"(logs/rank-\d+\.log|failures/rank-\d+\.json)")  # by ranks other than rank 0
LOOK_S, FETCH_S = 25.0, 10.0
INDEX = "index.json"  # of prepared data; it is sent last
PIECE_BYTES = 1 << 18
ATTEMPTS = 3  # to replace a folder that another host may replace too


@dataclass(frozen=True)
class Needs:
    """What ranks read. root: the run's folder; name: of theirs in it, if it is another one.

    most_steps: of checkpoints that they may go on from. data: prepared arrays; sources: what these were made of.
    """

    root: RunDirectory
    name: str
    most_steps: float
    data: Path
    sources: Sequence[Path]

    @property
    def folder(self) -> RunDirectory:
        return RunDirectory(self.root.path / self.name)

    def files(self) -> list[Path]:
        """Files and folders below the root."""
        given = [path for path in (self.folder.config, self.folder.path / REPLAY) if path.exists()]
        older = [path for path in generations(self.root.checkpoints) if age_of(path.name)[0] <= self.most_steps]
        return given + next(([path] for path in older if _is_whole(path)), [])


@dataclass(frozen=True)
class Copies:
    """Copies of a run that were sent for one start."""

    needs: Needs
    token: str
    hosts: tuple[Host, ...]

    def after_others(self, hosts: Sequence[Host]) -> tuple[Host, ...]:
        """These hosts, with those behind that have copies: rank 0 writes into the run itself."""
        return tuple(sorted(hosts, key=lambda host: host in self.hosts))

    def fetch(self) -> None:
        """Add logs and failures to the run's, and have the copies removed. Hosts that don't answer are left alone."""
        words = [str(self.needs.root.path.resolve()), str(self.needs.folder.path.resolve()), self.token]
        answers = _ask(self.hosts, module_command(__name__, "give_back", *words), FETCH_S)
        found: dict[str, str] = {}
        for answer in answers:
            if answer.code == 0:
                found |= json.loads(answer.output.splitlines()[-1])
        with suppress(OSError):  # of a full disk, of which others tell
            for name, text in found.items():
                if WRITTEN.fullmatch(name):
                    _add(self.needs.folder.path / name, text)


def supply(needs: Needs, hosts: Sequence[Host], say: Callable[[str], None], limit_s: float, stop: Stop) -> Copies:
    """Send what is missing on these hosts; the copies that were made. limit_s: for a host to store what it has got.

    Raises HostsError with a line for each host that can't have it, and Interrupted.
    """
    token = secrets.token_hex(8)
    others = [host for host in hosts if not is_here(host.name)]
    if not others:
        return Copies(needs, token, ())
    found = _look(needs, others, token)
    lacking = [host for host in others if not found[host]["data"]]
    apart = tuple(host for host in others if not found[host]["shares"])
    if len(apart) == len(hosts):
        raise HostsError(
            f"none of these hosts shares {needs.root.path} with this one, and rank 0 writes into it; "
            f"add this host to them: {socket.gethostname()}:1"
        )

    def sent(step: str, hosts: Sequence[Host], words: list[str], fill: Callable[[IO[bytes]], None]) -> None:
        command = module_command(__name__, step, *words)
        answers = _at_once(hosts, lambda host: send(host.name, command, fill, limit_s, lambda: not stop.requests))
        if stop.requests:
            raise Interrupted(f"stopped before ranks were started; continue with: distprop resume {needs.root.path}")
        _check(hosts, answers)

    if lacking:
        sent("take_data", lacking, [needs.data.name], lambda pipe: _pack(pipe, needs.data, _arrays(needs.data)))
        amount = size(sum(path.stat().st_size for path in _arrays(needs.data)))
        for host in lacking:
            say(f"{host.name}: sent {amount} of data")
    if apart:
        root, files = needs.root.path.resolve(), needs.files()
        sent("take_run", apart, [str(root), token], lambda pipe: _pack(pipe, needs.root.path, files))
    return Copies(needs, token, apart)


def _look(needs: Needs, hosts: Sequence[Host], token: str) -> dict[Host, dict[str, bool]]:
    """What each host has. No cache of a network file system can know a name that nobody has used before."""
    new = needs.root.path.resolve() / f".seen-{token}"
    states = json.dumps([_state(path) for path in needs.sources])
    try:
        new.touch()
        answers = _ask(hosts, module_command(__name__, "look", str(new), needs.data.name, states), LOOK_S)
    except OSError as error:
        raise UsageError(f"{new.parent}: {error.strerror}; choose another --run, or make room") from error
    finally:
        new.unlink(missing_ok=True)
    _check(hosts, answers)
    return {host: json.loads(answer.output.splitlines()[-1]) for host, answer in zip(hosts, answers, strict=True)}


def _add(path: Path, text: str) -> None:
    """What a rank has written, after what is there of its earlier starts; a failure at once."""
    path.parent.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    write_whole(path, before + text)


def _ask(hosts: Sequence[Host], command: str, limit_s: float) -> list[Answer]:
    return _at_once(hosts, lambda host: ask(host.name, command, limit_s))


def _at_once(hosts: Sequence[Host], call: Callable[[Host], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(max(len(hosts), 1)) as pool:
        return list(pool.map(call, hosts))


def _check(hosts: Sequence[Host], answers: Sequence[Answer]) -> None:
    """HostsError with a line for each host that has failed."""
    silent = "doesn't answer; see whether it is up, and reached by: {}"
    problems = [
        f"{host.name}: {answer.last_words or silent.format(answer.command)}"
        for host, answer in zip(hosts, answers, strict=True)
        if answer.code != 0
    ]
    if problems:
        raise HostsError("\n".join(problems))


def _is_whole(checkpoint: Path) -> bool:
    try:
        check_folder(checkpoint)
    except CheckpointError:
        return False
    return True


def _arrays(folder: Path) -> list[Path]:
    return [*sorted(folder.rglob("*.npy")), folder / INDEX]


def _state(path: Path) -> list[Any]:
    """What tells whether a file is the same one, as for keys of prepared data."""
    found = path.stat()
    return [str(path), found.st_size, found.st_mtime_ns]


def _pack(pipe: IO[bytes], root: Path, paths: Sequence[Path]) -> None:
    with tarfile.open(fileobj=pipe, mode="w|", bufsize=PIECE_BYTES, dereference=True) as tar:
        for path in paths:
            tar.add(path, str(path.relative_to(root)))


def _unpack(folder: Path) -> None:
    """The files that come on standard input."""
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", bufsize=PIECE_BYTES) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content:
                    path = folder / member.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("wb") as file:
                        shutil.copyfileobj(content, file, PIECE_BYTES)
    except tarfile.TarError as error:
        raise OSError(None, f"only a part has come ({error})") from error


# The steps, on another host.


def look(new: str, key: str, states: str) -> None:
    """Tell whether this host sees a file that was just made, and has the prepared data or what they are made of."""
    from distprop.data.cache import read_index

    prepared = read_index(cache_folder("data") / key) is not None
    print(json.dumps({"shares": Path(new).exists(), "data": prepared or all(map(_is_same, json.loads(states)))}))


def _is_same(state: list[Any]) -> bool:
    try:
        return _state(Path(state[0])) == state
    except OSError:
        return False


def take_data(key: str) -> None:
    """Put prepared data into the cache of this host."""
    from distprop.data.cache import prepared_once
    from distprop.data.encoding import Encoding

    def make(partial: Path) -> Encoding:
        _unpack(partial)
        return Encoding.from_json(json.dumps(json.loads((partial / INDEX).read_text())["encoding"]))

    prepared_once(cache_folder("data"), key, make)


def take_run(path: str, token: str) -> None:
    """Put a copy of a run where the run is on the host that has sent it."""
    root = Path(path)
    ours = f".{root.name}.{socket.gethostname()}-"
    partial = root.with_name(ours + token)
    try:
        partial.mkdir(parents=True)
        for left in root.parent.iterdir():  # by a loss of power
            if left.name.startswith(ours) and left != partial:
                shutil.rmtree(left, ignore_errors=True)
        _unpack(partial)
        (partial / MARK).write_text(token)
        _take_place(partial, root, token)
    except OSError as error:
        raise UsageError(f"{root}: {error.strerror}; mend this on that host, or choose another --run") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _take_place(partial: Path, root: Path, token: str) -> None:
    """Replace what is there by `partial`. Another host, which shares this folder, may do the same at this moment."""
    problem: OSError | None = None
    for _ in range(ATTEMPTS):
        mark = _mark(root)
        if mark == token:
            return
        if mark is not None:
            old = partial.with_name(f"{partial.name}-old")
            with suppress(OSError):
                root.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        try:
            partial.rename(root)
            return
        except OSError as error:
            problem = error
    if problem and problem.errno in (EEXIST, ENOTEMPTY):
        raise UsageError(
            f"{root}: there is something else on that host; move it away there, choose another --run, "
            "or use a file system that all hosts share"
        )
    assert problem
    raise problem


def _mark(root: Path) -> str | None:
    """The token with which this copy was sent; None if it is none."""
    try:
        return (root / MARK).read_text()
    except OSError:
        return None


def give_back(path: str, folder: str, token: str) -> None:
    """Tell what ranks have written on this host, and remove the copy."""
    texts = {}
    for file in Path(folder).glob("*/rank-*"):
        with suppress(OSError):
            texts[f"{file.parent.name}/{file.name}"] = file.read_text(encoding="utf-8", errors="replace")
    print(json.dumps(texts), flush=True)
    if _mark(Path(path)) == token:
        shutil.rmtree(path, ignore_errors=True)


STEPS: dict[str, Callable[..., None]] = {step.__name__: step for step in (look, take_data, take_run, give_back)}

if __name__ == "__main__":
    try:
        STEPS[sys.argv[1]](*sys.argv[2:])
    except DistpropError as error:
        sys.exit(str(error))
