"""Every error that distprop raises on purpose, and the exit code that each one ends a command with.

    DistpropError            1
    ├── UsageError           2   a command line or a call that can't be carried out
    ├── ConfigError          2   a configuration that is wrong; holds all problems at once
    ├── DataError            3   a data file that can't be read as asked
    ├── CheckpointError      4   no usable checkpoint or model file, or one that can't be written
    ├── NonFiniteError       5   the loss or a gradient became NaN or infinite
    ├── GaveUpError          7   the run failed and restarting it did not help
    ├── DisagreementError    8   ranks that must be alike aren't: their software, configuration, data or parameters
    │   └── DivergedError    8   their copies of the parameters have become different during training
    ├── ReplayError          9   a run that was computed again has other parameters than it had
    └── Interrupted         75   stopped on request after a checkpoint: resume continues

The text is for the user: one line a problem, which says what was given, where, what is allowed and what to do.
"""

from collections.abc import Sequence


class DistpropError(Exception):
    exit_code = 1


class UsageError(DistpropError):
    exit_code = 2


class ConfigError(DistpropError):
    """All problems of a configuration, one line each."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(DistpropError):
    """One line, whatever names and values of a file are in it."""

    exit_code = 3

    def __init__(self, text: str):
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


class CheckpointError(DistpropError):
    exit_code = 4


class NonFiniteError(DistpropError):
    exit_code = 5


class GaveUpError(DistpropError):
    exit_code = 7


class DisagreementError(DistpropError):
    exit_code = 8


class DivergedError(DisagreementError):
    """By a fault of a machine, most probably: what is computed again from a checkpoint may be right."""


class ReplayError(DistpropError):
    exit_code = 9


class Interrupted(DistpropError):  # noqa: N818 (not an error: asked for)
    exit_code = 75


def out_of_memory(error: MemoryError) -> str:
    """One line about what didn't fit."""
    return f"not enough memory ({error or 'no more is given to this process'}); use a smaller network or batch_size"
