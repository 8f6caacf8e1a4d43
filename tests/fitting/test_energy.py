# SPDX-License-Identifier: BSD-3-Clause
"""The energy fitting: what every fitting promises, and energies of lone atoms."""

from __future__ import annotations

import numpy as np
import pytest

from deepmd_tf import names
from deepmd_tf.fitting import EnergyFitting

from .contract import FittingContract

CASES = {
    "timestep": {},
    "no timestep": {"resnet_dt": False},
    "one layer": {"neuron": [9]},
    "linear": {"neuron": [], "numb_aparam": 1},
    "parameters": {"numb_fparam": 2, "numb_aparam": 1},
    "mask": {"numb_aparam": 1, "use_aparam_as_mask": True},
    "energy of lone atoms": {"atom_ener": [-1.5, None]},
    "energy of lone atoms with parameters": {"atom_ener": [-1.5, 0.5], "numb_aparam": 2},
    "shared layers": {
        "layer_name": [None, "same", "same", None],
        "neuron": [10, 10, 10],
        "numb_fparam": 1,
    },
    "another activation": {"activation_function": "softplus"},
    "float32": {"precision": "float32", "numb_fparam": 1},
}


class TestEnergyFitting(FittingContract):
    fitting, cases = EnergyFitting, CASES

    def test_tanh_is_one_operation(self, rng, case: str) -> None:
        config = self.config(case)
        kinds = self.evaluate(config, self.arrays(rng, config), self.weights(rng, config)).kinds
        hidden_tanh = config.activation_function == "tanh" and bool(config.neuron)
        assert ("DpFittingNets" in kinds) == hidden_tanh

    @pytest.mark.parametrize("native", [True, False])
    def test_lone_atoms_have_the_bias(self, rng, native: bool) -> None:
        config = self.config("energy of lone atoms with parameters")
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        lone = arrays | {"x": np.zeros_like(arrays["x"])}
        found = self.evaluate(config, lone, weights, native=native).values
        types = arrays[names.T_TYPE]
        expected = np.where(types < 0, 0.0, weights[names.BIAS_ATOM_E][types])
        np.testing.assert_allclose(found, expected, rtol=1e-14)
