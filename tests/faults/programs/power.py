"""What may be on a disk after the power has failed, by the rules that POSIX leaves us with.

A write that no later fsync of its file has forced out may be there, be missing, or be there in part; other writes of
the file may be there although it is not. The same holds for each change of a folder (a name that appears, vanishes or
changes its place) that no later fsync of that folder has forced out, one by one and in any combination. Nothing else is
assumed: not that folders follow files, nor that a journal keeps an order. A rename within a folder is one change.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calls import Calls


@dataclass(frozen=True)
class Event:
    """One call that changes something: write, fsync, or link, unlink and rename in the folder that `path` is in."""

    name: str
    path: str
    data: bytes = b""
    target: str = ""  # of a rename
    is_folder: bool = False  # what a link makes


class Recorder:
    """Records the events below a folder, and marks in between them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.events: list[Event] = []
        self.marks: list[int] = []  # the number of events when something was done

    def record(self, action: Callable[[], Any]) -> None:
        """Do something; it is marked as done."""
        with Calls(self._root, self._before, self._after):
            action()
        self.marks.append(len(self.events))

    def _before(self, number: int, name: str, path: Path, arguments: tuple[Any, ...]) -> None:
        self._new = name == "open" and not path.exists()

    def _after(self, name: str, path: Path, arguments: tuple[Any, ...], result: Any) -> None:
        if name == "mkdir" or (name == "open" and self._new):
            self._add("link", path, is_folder=name == "mkdir")
        elif name == "write":
            self._add("write", path, bytes(arguments[1])[:result])
        elif name == "fsync":
            self._add("fsync", path)
        elif name in ("rename", "replace"):
            self._add("rename", path, target=str(Path(arguments[1]).relative_to(self._root)))
        elif name in ("unlink", "rmdir"):
            self._add("unlink", path)

    def _add(self, name: str, path: Path, data: bytes = b"", target: str = "", is_folder: bool = False) -> None:
        self.events.append(Event(name, str(path.relative_to(self._root)), data, target, is_folder))


@dataclass
class _Node:
    """A file or folder, whatever it is called. pending: what has not been forced to disk."""

    is_folder: bool
    data: bytearray = field(default_factory=bytearray)
    size: int = 0  # as the process sees it
    entries: dict[str, int] = field(default_factory=dict)  # on the disk: name to number
    seen: dict[str, int] = field(default_factory=dict)  # as the process sees it
    pending: list[tuple[Any, ...]] = field(default_factory=list)


State = dict[str, bytes | None]  # content by path, None for a folder
Choose = Callable[[int, int], bool]  # (number of a pending thing, how many there are): is it on the disk?


class Disk:
    """Follows the events up to a crash."""

    def __init__(self) -> None:
        self._nodes = [_Node(is_folder=True)]

    def apply(self, event: Event) -> None:
        path = Path(event.path)
        if event.name == "fsync":
            self._settle(self._nodes[self._find(path)])
        elif event.name == "write":
            node = self._nodes[self._find(path)]
            node.pending.append((node.size, event.data))
            node.size += len(event.data)
        else:
            self._change(path, event)

    def states(self, choices: Sequence[Choose], torn: random.Random) -> Iterator[State]:
        """What is on the disk for each way to choose among all that is pending."""
        pending = sum(len(node.pending) for node in self._nodes)
        for choose in choices:
            yield self._state(lambda number, choose=choose: choose(number, pending), torn)

    @property
    def pending(self) -> int:
        return sum(len(node.pending) for node in self._nodes)

    def _change(self, path: Path, event: Event) -> None:
        folder = self._nodes[self._find(path.parent)]
        if event.name == "link":
            number = len(self._nodes)
            self._nodes.append(_Node(event.is_folder))
            change: tuple[Any, ...] = ("", path.name, number)
        elif event.name == "rename":
            assert Path(event.target).parent == path.parent
            change = (path.name, Path(event.target).name, folder.seen[path.name])
        else:
            change = (path.name, "", -1)
        folder.pending.append(change)
        self._enter(folder.seen, change)

    @staticmethod
    def _enter(entries: dict[str, int], change: tuple[Any, ...]) -> None:
        old, new, number = change
        entries.pop(old, None)
        if new:
            entries[new] = number

    def _find(self, path: Path) -> int:
        number = 0
        for part in path.parts:
            number = self._nodes[number].seen[part]
        return number

    def _settle(self, node: _Node) -> None:
        for item in node.pending:
            if node.is_folder:
                self._enter(node.entries, item)
            else:
                self._write(node.data, *item)
        node.pending = []

    @staticmethod
    def _write(data: bytearray, offset: int, piece: bytes) -> None:
        data.extend(bytes(max(0, offset + len(piece) - len(data))))  # what is missing in between reads as zeros
        data[offset : offset + len(piece)] = piece

    def _state(self, on_disk: Callable[[int], bool], torn: random.Random) -> State:
        number, contents = 0, []
        for node in self._nodes:
            data, entries = bytearray(node.data), dict(node.entries)
            for item in node.pending:
                if on_disk(number):
                    if node.is_folder:
                        self._enter(entries, item)
                    else:
                        offset, piece = item
                        self._write(data, offset, _torn(piece, torn))
                number += 1
            contents.append((bytes(data), entries))
        state: State = {}
        self._list(contents, 0, "", state, frozenset())
        return state

    def _list(self, contents: Any, number: int, path: str, state: State, above: frozenset[int]) -> None:
        for name, child in contents[number][1].items():
            place = f"{path}{name}"
            if self._nodes[child].is_folder:
                state[place] = None
                if child not in above:
                    self._list(contents, child, f"{place}/", state, above | {child})
            else:
                state[place] = contents[child][0]


def _torn(piece: bytes, rng: random.Random) -> bytes:
    """What arrives of a write: mostly all, or its beginning, or its length alone."""
    return rng.choice((piece, piece, piece[: rng.randrange(len(piece) + 1)], bytes(len(piece))))


def crash_states(events: Sequence[Event], samples: int, seed: int, first: int = 0) -> Iterator[tuple[int, State]]:
    """States after a crash behind each number of events from `first` on, each state once for each number.

    For each number: all that is pending is there, nothing is, each thing alone is or is not, and `samples` random
    combinations.
    """
    disk = Disk()
    for done in range(len(events) + 1):
        if done:
            disk.apply(events[done - 1])
        if done < first:
            continue
        rng = random.Random(f"{seed} {done}")
        choices: list[Choose] = [lambda number, count: True, lambda number, count: False]
        for one in range(disk.pending):
            choices += [lambda number, count, one=one: number == one, lambda number, count, one=one: number != one]
        for _ in range(samples):
            share, own = rng.random(), random.Random(rng.random())
            choices.append(lambda number, count, share=share, own=own: own.random() < share)
        met = set()
        for state in disk.states(choices, rng):
            key = tuple(sorted(state.items(), key=lambda item: item[0]))
            if key not in met:
                met.add(key)
                yield done, state


def write_state(folder: Path, state: State) -> None:
    """Make a folder that holds a state."""
    folder.mkdir()
    for place, data in sorted(state.items()):
        if data is None:
            (folder / place).mkdir()
        else:
            (folder / place).write_bytes(data)
