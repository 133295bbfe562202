"""The small message of each step, by which all ranks know the same: losses, sums of squares, and words."""

from collections.abc import Sequence

import numpy as np

from distprop.comm.communicator import Communicator
from distprop.comm.slices import TAIL, WORDS
from distprop.kernels.tape import Call


class Agreement:
    """Every rank's words, tails and blocks, on every rank.

    Written by this rank: words (WORDS,) int64, tails (its nodes, TAIL) and blocks, those of its slice of each bucket.
    After the call: all_words (size, WORDS), all_tails (nodes of all, TAIL), all_blocks (of the whole vector,).
    """

    def __init__(self, comm: Communicator, nodes: Sequence[int], blocks: Sequence[Sequence[slice]]) -> None:
        """nodes: how many each rank has; blocks: those that each rank owns, one slice a bucket."""
        tails, rank = TAIL * max(nodes), comm.rank
        counts = [[own.stop - own.start for own in of_rank] for of_rank in blocks]
        self._comm = comm
        self._mine = np.zeros(WORDS + tails + max(map(sum, counts)))  # one length for all ranks
        self._everyones = np.zeros((comm.size, self._mine.size))
        self.words, self.all_words = self._mine[:WORDS].view(np.int64), np.zeros((comm.size, WORDS), np.int64)
        self.tails = self._mine[WORDS:][: TAIL * nodes[rank]].reshape(-1, TAIL)
        self.all_tails = np.zeros((sum(nodes), TAIL))
        self.all_blocks = np.zeros(max((own.stop for of_rank in blocks for own in of_rank), default=0))
        ends = [WORDS + tails + np.cumsum([0, *of_rank]) for of_rank in counts]
        self.blocks = tuple(self._mine[first:last] for first, last in zip(ends[rank], ends[rank][1:], strict=False))
        place = np.arange(self._everyones.size).reshape(self._everyones.shape)
        self._tail_places = np.concatenate([place[r, WORDS:][: TAIL * count] for r, count in enumerate(nodes)])
        self._block_places = np.zeros(self.all_blocks.size, np.int64)
        for of_rank, row, end in zip(blocks, place, ends, strict=True):
            for own, first, last in zip(of_rank, end, end[1:], strict=False):
                self._block_places[own] = row[first:last]

    def call(self) -> Call:
        return Call(self._tell, (), "allgather(words, tails, blocks)", "exchange")

    def _tell(self) -> None:
        self._comm.allgather(self._mine, self._everyones)
        self.all_words[:] = self._everyones.view(np.int64)[:, :WORDS]
        self.all_tails[:] = self._everyones.ravel()[self._tail_places].reshape(-1, TAIL)
        self.all_blocks[:] = self._everyones.ravel()[self._block_places]
