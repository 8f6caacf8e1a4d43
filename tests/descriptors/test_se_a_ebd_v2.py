# SPDX-License-Identifier: BSD-3-Clause
"""``se_a_ebd_v2`` is a descriptor."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from descriptors.contract import DescriptorContract, Model
from evaluation import Frames
from saved_models import INPUT

from deepmd_tf import names
from deepmd_tf.descriptors import SeAEbdV2

SECTION = INPUT["model"]["descriptor"] | {"type": "se_a_ebd_v2", "sel": [30, 50]}
TYPES = {"neuron": [3], "seed": 5}


class WithoutMean:
    """The test of smoothness for rows without a mean."""

    def test_smooth_at_the_cutoff(self, model):
        """Otherwise an empty slot is not a neighbour at the cutoff: it has no type. Energies are
        quadratic in the row, so all but constant near the cutoff."""
        centred = Model(self.section, self.model_keys)
        centred.weights[names.T_AVG] = 0.0 * centred.weights[names.T_AVG]
        coord = np.zeros((3, 2, 3))
        coord[:, 1, 0] = self.section["rcut"] + np.array([-0.5, -1e-3, 1e-3])
        result = centred.run(Frames(coord, None, [0, 1]))
        energy, force = result["energy"], result["force"].reshape(3, 2, 3)[:, 1, 0]
        assert abs(energy[1] - energy[2]) < 1e-3 * abs(energy[0] - energy[2])
        assert force[2] == 0 and abs(force[1]) < 1e-3 * abs(force[0])


class TestTwoSided(WithoutMean, DescriptorContract):
    """With the type embedding that such a descriptor asks for."""

    descriptor = SeAEbdV2
    section = SECTION | {"exclude_types": [[1, 1]], "resnet_dt": True}


class TestOneSided(WithoutMean, DescriptorContract):
    descriptor = SeAEbdV2
    variant = True
    section = SECTION | {"type_one_side": True, "exclude_types": [[1, 1]]}
    model_keys: ClassVar = {"type_embedding": TYPES}
