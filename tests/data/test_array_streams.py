"""IDX, .npy and .npz files of every type and order, in blocks of every size."""

import gzip
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from distprop.data.array_streams import IDX_TYPES, open_array, open_npz
from distprop.errors import DataError

shapes = arrays.array_shapes(min_dims=1, max_dims=4, max_side=6)


def idx_bytes(array: np.ndarray[Any, Any], code: int) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def assert_read(path: Path, array: np.ndarray[Any, Any], size: int) -> None:
    stream = open_array(path)
    assert stream.shape == array.shape
    blocks = list(stream.blocks(size))
    assert all(len(block) == size for block in blocks[:-1])
    found = np.concatenate(blocks)
    assert found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)


@settings(max_examples=40)
@given(st.data(), st.sampled_from(sorted(IDX_TYPES)), st.integers(1, 7), st.booleans())
def test_idx_files_of_every_type_are_read_in_blocks(data: st.DataObject, code: int, size: int, zipped: bool) -> None:
    array = data.draw(arrays.arrays(IDX_TYPES[code], shapes))
    content = idx_bytes(array, code)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x-ubyte"
        path.write_bytes(gzip.compress(content) if zipped else content)
        assert_read(path, array, size)


@settings(max_examples=40)
@given(st.data(), st.sampled_from(["<f4", ">f8", "<i8", "?", "<U3"]), st.integers(1, 7), st.sampled_from("CF"))
def test_npy_files_of_every_order_are_read_in_blocks(data: st.DataObject, dtype: str, size: int, order: Any) -> None:
    array = np.asarray(data.draw(arrays.arrays(dtype, shapes)), order=order)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        np.save(path, array)
        assert_read(path, array, size)
        np.savez_compressed(Path(folder) / "x.npz", one=array, two=array)
        streams = open_npz(Path(folder) / "x.npz")
        assert list(streams) == ["one", "two"]
        np.testing.assert_array_equal(np.concatenate(list(streams["two"].blocks(size))), array)


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_array_or_one_line_of_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        path.write_bytes(content)
        try:
            list(open_array(path).blocks(3))
        except DataError as error:
            assert "\n" not in str(error) and "x.npy" in str(error)


@pytest.mark.parametrize("cut", range(4, 27))
def test_every_truncation_of_an_idx_file_is_noticed(cut: int, tmp_path: Path) -> None:
    content = idx_bytes(np.arange(15, dtype=np.uint8).reshape(5, 3), 0x08)
    assert len(content) == 27
    (tmp_path / "x").write_bytes(content[:cut])
    with pytest.raises(DataError, match="cut off"):
        list(open_array(tmp_path / "x").blocks(2))
