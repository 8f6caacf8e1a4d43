# SPDX-License-Identifier: BSD-3-Clause
"""Atoms with a calculator of this package are copied and stored with it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from ase import Atoms
from saved_models import water_like

from deepmd_tf.interfaces.ase import DP


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda atoms: pickle.loads(pickle.dumps(atoms))], ids=["", "pickle"]
)
def test_copies(saved, rng, copied):
    coords, cells, types = water_like(rng, n_atoms=9, n_frames=1, length=5.0)
    atoms = Atoms(["OH"[i] for i in types], coords[0], cell=cells[0].reshape(3, 3), pbc=True)
    with DP(saved) as atoms.calc:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        other = copied(atoms)
        assert other.calc is not atoms.calc
        assert other.get_potential_energy() == energy
        other.rattle(0.1)
        moved = other.get_forces()
        other.calc.close()
        assert not np.array_equal(moved, forces)
        np.testing.assert_array_equal(atoms.get_forces(), forces)
        atoms.positions[:] = other.positions
        np.testing.assert_array_equal(atoms.get_forces(), moved)
