# SPDX-License-Identifier: BSD-3-Clause
"""What the water example with a table of pair potentials, ``zbl``, says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepmd_tf.config import load_input
from deepmd_tf.pair_table import read_pair_table
from deepmd_tf.pair_table.zbl import zbl_table

WATER = Path(__file__).resolve().parents[2] / "examples" / "water"


@pytest.mark.parametrize("name", ["input.json", "input_quick.json"])
def test_the_example_is_se_e2_a_with_a_table(name):
    config = load_input(WATER / "zbl" / name).model
    plain = load_input(WATER / "se_e2_a" / name).model
    assert config.descriptor == plain.descriptor and config.fitting_net == plain.fitting_net
    table = read_pair_table(WATER / "zbl" / config.use_srtab, config.type_map, 2)
    expected = zbl_table(["O", "H"], rmin=0.01, rmax=2.0, step=0.01, rswitch=1.0)
    np.testing.assert_allclose(table.energies, expected.energies, rtol=1e-12, atol=1e-12)
    # the README: the closest atoms of the data are beyond the switch
    assert config.switch_to_table == (0.1, 0.6, 0.8)
