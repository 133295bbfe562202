"""Columns of Arrow as the numbers and texts of a chunk."""

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distprop.data.source import Texts


def floats(column: Any) -> npt.NDArray[np.float64]:
    """float64 numbers with NaN for missing; true is 1, false 0."""
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.uint8())
    if not pa.types.is_float64(column.type):
        column = pc.cast(column, pa.float64(), safe=False)
    return cast("npt.NDArray[np.float64]", column.to_numpy(zero_copy_only=False))


def texts_of(column: Any) -> Texts:
    """Dictionary-encoded text with code -1 for missing."""
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(pc.cast(column, pa.string()))
    codes = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
    return Texts(codes.astype(np.int64), pc.cast(column.dictionary, pa.string()).to_pylist())
