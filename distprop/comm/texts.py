"""What each rank has to say, on every rank."""

import numpy as np

from distprop.comm.communicator import Communicator

BYTES = 2048  # of a rank's text; what is longer is cut


def everyones(comm: Communicator, text: str) -> list[str]:
    """The texts of all ranks, in their order: a collective."""
    mine, all_of_them = np.zeros(BYTES, np.uint8), np.zeros((comm.size, BYTES), np.uint8)
    encoded = np.frombuffer(text.encode()[:BYTES], np.uint8)
    mine[: encoded.size] = encoded
    comm.allgather(mine, all_of_them)
    return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in all_of_them]
