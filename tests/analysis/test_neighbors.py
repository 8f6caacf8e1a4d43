# SPDX-License-Identifier: BSD-3-Clause
"""Neighbour counts of data sets, against all pairs and images in NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from saved_models import water_like
from stock_wheel import log_lines

from deepmd_tf.analysis.neighbors import neighbor_stat
from deepmd_tf.cli.main import main
from deepmd_tf.data import write_system
from deepmd_tf.errors import DataError

RCUT = 3.1


@pytest.fixture
def data(tmp_path, rng):
    """A crystal and a molecule, whose types have their names in different orders."""
    systems = {}
    for name, n_atoms, order in (("bulk", 12, ["O", "H"]), ("molecule", 9, ["H", "O"])):
        coords, cells, types = water_like(rng, n_atoms, n_frames=3)
        write_system(
            tmp_path / "data" / name,
            types=[order.index(n) for n in np.array(["O", "H"])[types]],
            type_map=order,
            coord=coords,
            box=cells if name == "bulk" else None,
            frames_per_set=2,
        )
        systems[name] = coords, cells if name == "bulk" else None, types
    return str(tmp_path / "data"), systems


def count(systems, ntypes: int) -> tuple[float, np.ndarray]:
    """Smallest distance and most neighbours of each type, from all pairs with images."""
    smallest, most = np.inf, np.zeros(ntypes, int)
    for coords, cells, types in systems.values():
        images = itertools.product(range(-2, 3), repeat=3) if cells is not None else [(0, 0, 0)]
        shifts = np.array(list(images), float)
        for frame, coord in enumerate(coords):
            x = coord[None, :] - coord[:, None]
            if cells is not None:
                x = x[:, :, None] + shifts @ cells[frame].reshape(3, 3)
            else:
                x = x[:, :, None] + shifts
            r = np.linalg.norm(x, axis=-1)
            r[r == 0] = np.inf
            smallest = min(smallest, r.min())
            near = (r < RCUT).sum(axis=2)
            for t in range(ntypes):
                most[t] = max(most[t], near[:, types == t].sum(axis=1).max(initial=0))
    return smallest, most


def test_all_pairs(data, capsys):
    """Counted for programs; nothing is printed."""
    folder, systems = data
    found = neighbor_stat(folder, rcut=RCUT, type_map=["O", "H", "C"])
    assert capsys.readouterr().out == ""
    smallest, most = count(systems, 3)
    assert found.min_distance == pytest.approx(smallest, rel=1e-12)
    np.testing.assert_array_equal(found.max_neighbors, most)
    assert most[0] > 0 and most[2] == 0


def test_one_type_counts_all_together(data):
    folder, systems = data
    one = {name: (x, cells, 0 * types) for name, (x, cells, types) in systems.items()}
    found = neighbor_stat(folder, rcut=RCUT, type_map=["O", "H"], one_type=True)
    np.testing.assert_array_equal(found.max_neighbors, count(one, 1)[1])


def test_small_pieces_give_the_same(data, monkeypatch):
    folder, _ = data
    whole = neighbor_stat(folder, rcut=RCUT, type_map=["O", "H"])
    monkeypatch.setattr("deepmd_tf.training.neighbor_counts.ATOMS_AT_ONCE", 12)
    pieces = neighbor_stat(folder, rcut=RCUT, type_map=["O", "H"])
    assert pieces.min_distance == whole.min_distance
    np.testing.assert_array_equal(pieces.max_neighbors, whole.max_neighbors)


def test_command(data, capsys):
    folder, systems = data
    assert main(["neighbor-stat", "-s", f"{folder}/bulk", "-r", str(RCUT)]) == 0
    smallest, most = count({"bulk": systems["bulk"]}, 2)
    out, err = capsys.readouterr()
    assert [line.rpartition("  ")[2] for line in out.splitlines()] == [
        f"{smallest:.4f} Å",
        f"O {most[0]}, H {most[1]}",
        str([4 * math.ceil(1.1 * n / 4) for n in most]),
    ]
    messages = log_lines(err)
    assert "type_map: ['O', 'H']" in messages
    assert messages[-2:] == [f"min_nbor_dist: {smallest:f}", f"max_nbor_size: {most}"]


def test_without_neighbors(data, caplog):
    assert np.isinf(neighbor_stat(f"{data[0]}/molecule", rcut=0.2).min_distance)
    assert "no two atoms are closer than the cutoff radius, 0.2 Å" in caplog.text


def test_atoms_in_one_place_are_named(tmp_path):
    coord = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0]])
    write_system(tmp_path, types=[1, 0, 0], coord=coord[None], box=None)
    with pytest.raises(DataError, match=r"set.000.coord.npy: frame 0.*1 and 2"):
        neighbor_stat(str(tmp_path), rcut=3.0)
