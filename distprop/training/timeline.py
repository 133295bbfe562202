"""What every rank did when, call by call, as a Chrome trace: open it with chrome://tracing or ui.perfetto.dev."""

import json
import time

import numpy as np

from distprop.comm.communicator import Communicator
from distprop.kernels.tape import Call


class Timeline:
    """The calls of this rank's first steps. Times begin at a barrier, so ranks on several machines agree on zero."""

    def __init__(self, comm: Communicator, steps: int) -> None:
        self._comm, self.steps_left = comm, steps
        self._events: list[tuple[Call, int, int]] = []
        comm.barrier()
        self._zero = time.perf_counter_ns()

    def add(self, call: Call, begin: int, end: int) -> None:
        """A call was made; times in nanoseconds of time.perf_counter_ns."""
        self._events.append((call, begin - self._zero, end - self._zero))

    def trace(self) -> str:
        """The events of all ranks in the trace event format, JSON: a collective, with the same text on every rank."""
        rank = self._comm.rank
        name = {"name": "process_name", "ph": "M", "pid": rank, "args": {"name": f"rank {rank}"}}
        events = [name, *(self._event(*event) for event in self._events)]
        texts = gather_texts(self._comm, ",\n".join(map(json.dumps, events)))
        return '{"displayTimeUnit": "ns", "traceEvents": [\n' + ",\n".join(texts) + "\n]}\n"

    def _event(self, call: Call, begin: int, end: int) -> dict[str, object]:
        microseconds = {"ts": begin / 1000, "dur": (end - begin) / 1000}
        return {
            "name": call.text.split("    #")[0],
            "cat": call.phase,
            "ph": "X",
            "pid": self._comm.rank,
            "tid": 0,
        } | microseconds


def gather_texts(comm: Communicator, text: str) -> list[str]:
    """Every rank's text, by rank: a collective."""
    mine = np.frombuffer(text.encode(), np.uint8)
    lengths = np.zeros((comm.size, 1), np.int64)
    comm.allgather(np.array([mine.size]), lengths)
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: mine.size] = mine
    everyones = np.zeros((comm.size, padded.size), np.uint8)
    comm.allgather(padded, everyones)
    return [row[:length].tobytes().decode() for row, length in zip(everyones, lengths[:, 0], strict=True)]
