# SPDX-License-Identifier: BSD-3-Clause
"""Statistics in a file: what is written is read again, what is damaged is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from deepmd_tf.errors import InputError
from deepmd_tf.model.stat_file import StatFile, descriptor_group

GROUP = descriptor_group([12, 20], 3.4, 0.5)
SUMS = np.array([[64.0, 3.0, 2.0, 0.1, 0.5], [32.0, 1.0, 4.0, -0.2, 0.7]])
BIAS = np.array([-1.5, 0.25])


def make(path, **kwargs):
    return StatFile(path, ["O", "H"], read_only=kwargs.get("read_only", False))


@pytest.fixture(params=["stat", "folder/stat.h5", "stat.hdf5"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_written_and_read(path):
    new = make(path)
    assert new.load_sums(GROUP, 2) is None
    assert new.load_bias(2) is None
    new.save_sums(GROUP, SUMS)
    new.save_bias(BIAS, 0.01, ["O", "H"])
    new.save_sums("another", 2 * SUMS)
    again = make(path, read_only=True)
    np.testing.assert_allclose(again.load_sums(GROUP, 2), SUMS, rtol=1e-15)
    np.testing.assert_allclose(again.load_sums("another", 2), 2 * SUMS, rtol=1e-15)
    np.testing.assert_array_equal(again.load_bias(2), BIAS)
    # other elements have a part of their own
    assert StatFile(path, ["H", "O"], read_only=False).load_bias(2) is None
    new.save_bias(2 * BIAS, 0.01, ["O"])
    np.testing.assert_array_equal(make(path).load_bias(2), 2 * BIAS)


def test_the_layout(tmp_path):
    make(tmp_path / "a.h5").save_sums(GROUP, SUMS)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file[f"O H/{GROUP}/r_1"], SUMS[1, :3])
        np.testing.assert_allclose(file[f"O H/{GROUP}/a_0"], [192.0, 0.3, 1.5])
    make(tmp_path / "a").save_bias(BIAS, 0.5, ["H"])
    np.testing.assert_array_equal(np.load(tmp_path / "a/O H/bias_atom_energy"), BIAS[:, None])
    np.testing.assert_array_equal(np.load(tmp_path / "a/O H/std_atom_energy"), [[0.5], [0.5]])
    assert np.load(tmp_path / "a/O H/observed_type").tolist() == [b"H"]


def test_the_name_of_a_descriptor():
    assert len(GROUP) == 40
    others = [([12, 21], 3.4, 0.5), ([12, 20], 3.5, 0.5), ([12, 20], 3.4, 0.6)]
    assert len({GROUP, *(descriptor_group(*other) for other in others)}) == 4


def test_members_of_a_list_are_told_apart():
    """By what the name of DeePMD-kit does not cover; all others share theirs with it."""
    given = ([12, 20], 3.4, 0.5, 4)
    assert descriptor_group(*given, ()) == GROUP
    close = [([12, 20], rcut, 0.5, 4, ()) for rcut in (3.401, 3.402)]
    found = [descriptor_group(*given, ((0, pair),)) for pair in (0, 1)]
    assert len({GROUP, *found, *(descriptor_group(*other) for other in close)}) == 5


def test_read_only(path):
    with pytest.raises(InputError, match="training/stat_file"):
        make(path, read_only=True)
    make(path).save_sums(GROUP, SUMS)
    kept = make(path, read_only=True)
    with pytest.raises(InputError, match="bias_atom_energy"):
        kept.load_bias(2)
    kept.save_bias(BIAS, 0.1, [])
    assert make(path).load_bias(2) is None


def test_damaged(path):
    new = make(path)
    new.save_sums(GROUP, SUMS * np.nan)
    new.save_bias(np.zeros(3), 0.1, [])
    with pytest.raises(InputError, match=r"finite numbers of shape .* remove it"):
        new.load_sums(GROUP, 2)
    with pytest.raises(InputError, match=r"bias_atom_energy.*\(3, 1\)"):
        new.load_bias(2)


def test_not_what_the_name_says(tmp_path):
    (tmp_path / "a.h5").mkdir()
    with pytest.raises(InputError, match="HDF5"):
        make(tmp_path / "a.h5")
    (tmp_path / "b").write_text("")
    with pytest.raises(InputError, match="is not a directory"):
        make(tmp_path / "b")
    (tmp_path / "c.h5").write_text("not HDF5")
    with pytest.raises(InputError, match="HDF5"):
        make(tmp_path / "c.h5")


def _external(path):
    with h5py.File(path, "a") as file:
        del file["O H/bias_atom_energy"]
        file["O H/bias_atom_energy"] = h5py.ExternalLink("other.h5", "/x")


def _text(path):
    with h5py.File(path, "a") as file:
        del file["O H/bias_atom_energy"]
        file["O H/bias_atom_energy"] = "text"


def _cut(path):
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize("harm", [_external, _text, _cut])
def test_hostile_hdf5(tmp_path, harm):
    path = tmp_path / "a.h5"
    make(path).save_bias(BIAS, 0.01, ["O", "H"])
    harm(path)
    with pytest.raises(InputError, match=r"a\.h5: cannot be read .*; remove it"):
        make(path).load_bias(2)
    assert make(path).load_record("x") is None


@pytest.mark.parametrize(
    "content",
    [b"PK\3\4", b"", b"\x93NUMPY\1\0\x10\0{'descr': '<f8',\n"],
    ids=["zip", "empty", "cut"],
)
def test_hostile_arrays(tmp_path, content):
    make(tmp_path / "a").save_bias(BIAS, 0.01, ["O", "H"])
    (tmp_path / "a/O H/bias_atom_energy").write_bytes(content)
    with pytest.raises(InputError, match=r"bias_atom_energy:.*\.npy"):
        make(tmp_path / "a").load_bias(2)
