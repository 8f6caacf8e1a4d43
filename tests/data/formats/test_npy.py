# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from format_contract import FormatContract
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepmd_tf.data.formats.npy import read_array, read_header
from deepmd_tf.errors import DataError

IN_ONE_FOLDER = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class TestContract(FormatContract):
    def store(self, directory, folder):
        return str(directory)


def saved(array: np.ndarray, **kwargs) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **kwargs)
    return stream.getvalue()


@IN_ONE_FOLDER
@given(
    hnp.arrays(
        st.sampled_from(["<f4", "<f8", ">f8", "<f2", "<i4", ">i8", "u1"]),
        hnp.array_shapes(max_dims=3, max_side=4),
    ),
    st.booleans(),
)
def test_reads_what_numpy_wrote(tmp_path: Path, array: np.ndarray, fortran: bool) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(array) if fortran else array)
    header = read_header(path)
    assert header.shape == array.shape
    assert header.dtype == array.dtype
    np.testing.assert_array_equal(read_array(path, header), array)


@IN_ONE_FOLDER
@given(st.data())
def test_damaged_file_is_one_clear_error_or_a_consistent_header(tmp_path: Path, data) -> None:
    content = bytearray(saved(np.arange(12.0).reshape(3, 4)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path / "a.npy"
    path.write_bytes(bytes(content))
    try:
        header = read_header(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert read_array(path, header).nbytes == len(content) - header.offset


@IN_ONE_FOLDER
@given(st.text(max_size=80))
def test_any_header_text(tmp_path: Path, text: str) -> None:
    body = text.encode("latin1", "replace")
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + b"12345678")
    with pytest.raises(DataError, match="not a NumPy"):
        read_header(path)


def header_of(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a NumPy"),
        (b"\x93NUMPY\x09\x00", "not a NumPy|version"),
        (saved(np.array([{}], dtype=object), allow_pickle=True), "expected real numbers"),
        (saved(np.array(["text"])), "expected real numbers"),
        (saved(np.zeros(2, dtype=complex)), "expected real numbers"),
        (saved(np.zeros(2, dtype="datetime64[s]")), "expected real numbers"),
        (saved(np.zeros(2, dtype=[("a", "f8")])), "expected real numbers"),
        (saved(np.zeros(4))[:-8], "has 152 bytes, but its header .* needs 160"),
        (saved(np.zeros(4)) + b"more", "damaged"),
        (
            header_of(f"{{'descr': '<f8', 'fortran_order': False, 'shape': (0, {2**62}, 3)}}\n"),
            "impossible shape",
        ),
        (
            header_of("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -8)}\n"),
            "impossible shape",
        ),
        (
            header_of("{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}\n") + b"8 bytes.",
            "impossible shape",
        ),
        (
            header_of(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**30},)}}\n"),
            "damaged",
        ),
        (header_of("(" * 9000), "not a NumPy"),
    ],
)
def test_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_header(path)


def test_unpickling_never_happens(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    np.save(tmp_path / "a.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        read_header(tmp_path / "a.npy")
    assert not (tmp_path / "exploded").exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_header(tmp_path / "a.npy")
