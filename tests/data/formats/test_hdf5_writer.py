# SPDX-License-Identifier: BSD-3-Clause
"""HDF5 files that are written, also to a disk that is full."""

from __future__ import annotations

import resource
import subprocess
import sys

import h5py
import numpy as np
import pytest

from deepmd_tf.data.formats.hdf5_writer import hdf5_writer

PROGRAM = """
import resource, sys
import numpy as np
from deepmd_tf.data.formats.hdf5_writer import hdf5_writer

path, keeps, size = sys.argv[1], bool(int(sys.argv[2])), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    with hdf5_writer(path, keeps=keeps) as file:
        for k in range(20):
            file.put(f"group/{k}", np.arange(k * 100))
except OSError as error:
    print(error.strerror)
"""


def test_written_and_replaced(tmp_path):
    path = tmp_path / "a.h5"
    with hdf5_writer(path) as file:
        file.put("group/a", np.arange(5))
        file.put("group/a", np.arange(7.0))
    with hdf5_writer(path, keeps=True) as file:
        file.put("b", np.arange(3))
    with h5py.File(path) as file:
        assert file["group/a"][()].tolist() == list(range(7))
        assert file["b"][()].tolist() == [0, 1, 2]
    with pytest.raises(FileNotFoundError), hdf5_writer(tmp_path / "no.h5", keeps=True):
        pass


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("size", [0, 500, 3000, 100_000, 153_000])
def test_full_disk(tmp_path, keeps, size):
    """The library itself ends the process; hence one of its own."""
    path = tmp_path / "a.h5"
    if keeps:
        with hdf5_writer(path) as file:
            file.put("before", np.arange(9))
    command = [sys.executable, "-c", PROGRAM, str(path), str(int(keeps)), str(size)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "File too large\n", "")


def test_a_disk_that_is_large_enough(tmp_path):
    path = tmp_path / "a.h5"
    command = [sys.executable, "-c", PROGRAM, str(path), "0", str(resource.RLIM_INFINITY)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    with h5py.File(path) as file:
        assert file["group/19"][()].tolist() == list(range(1900))
