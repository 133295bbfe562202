"""Which kernels a run needs, as a name: known without Numba, so that the launching side can ask if they are there."""

import hashlib

from distprop.config.run import Config
from distprop.data.dataset import Dataset
from distprop.paths import kernel_folder


def compiled_mark(config: Config, data: Dataset, validation: Dataset | None, ranks: int, one_machine: bool) -> str:
    """The name of the file that lies in the folder of kernels once all that such a run calls have been compiled.

    Two ranks call what any larger number calls; on several machines three, two of which share memory.
    """
    what = (config.network, config.optimizer, config.dtype, config.training.exchange, _types(data), _types(validation))
    text = f"{what} {config.training.accumulate > 1} {min(ranks, 2 if one_machine else 3)} {one_machine}"
    return f"compiled-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_there(mark: str) -> bool:
    """Whether the folder of kernels has this mark. One that only another user may read counts as empty."""
    try:
        return (kernel_folder() / mark).exists()
    except OSError:
        return False


def _types(data: Dataset | None) -> str:
    arrays = (data.features, data.labels, data.targets, data.weights, data.rows) if data is not None else ()
    return " ".join("-" if array is None else array.dtype.str for array in arrays)
