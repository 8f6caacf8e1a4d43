# SPDX-License-Identifier: BSD-3-Clause
"""The energy fitting: what every fitting promises, and energies of lone atoms."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from saved_models import small_input

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.fitting import EnergyFitting

from .contract import COUNTS, FittingContract

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


class TestOneNet(TestEnergyFitting):
    """One net for all types, which takes their vectors."""

    type_embedding: ClassVar = {"neuron": [3], "seed": 5}
    cases: ClassVar = {
        name: CASES[name] for name in ("shared layers", "energy of lone atoms with parameters")
    }

    def test_all_types_are_lone_at_the_bias(self, rng) -> None:
        """As soon as one has ``atom_ener``, as in DeePMD-kit."""
        section = {"type": "ener", "atom_ener": [-1.5, None]}
        config = Config.from_dict(small_input(fitting_net=section)).model.fitting_net
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        found = self.evaluate(config, arrays | {"x": 0.0 * arrays["x"]}, weights).values
        types = arrays[names.T_TYPE]
        expected = np.where(types < 0, 0.0, weights[names.BIAS_ATOM_E][types])
        np.testing.assert_allclose(found, expected, rtol=1e-14)

    def test_counted_as_one_type(self, rng) -> None:
        """Programs may say that all atoms are of type 0, and give their types one by one."""
        config = self.config("energy of lone atoms with parameters")
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        expected = self.evaluate(config, arrays, weights, native=False).values
        n = sum(COUNTS)
        counted = arrays | {names.T_NATOMS: np.array([n, n, n, 0])}
        found = self.evaluate(config, counted, weights, native=False).values
        np.testing.assert_allclose(found, expected, rtol=1e-13)
