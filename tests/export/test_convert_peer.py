# SPDX-License-Identifier: BSD-3-Clause
"""Files of old versions, converted here, in the stock wheel; and converted there, read here."""

from __future__ import annotations

import numpy as np
import pytest
import stock_wheel
from old_graphs import age
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf.export.convert import convert
from deepmd_tf.export.freeze import build_graph, freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot

pytestmark = stock_wheel.needs_stock


@pytest.mark.parametrize("version", ["0.12", "1.0", "1.3"])
def test_converted_files(tmp_path, rng, version):
    prefix, _ = save_checkpoint(tmp_path)
    graph = age(build_graph(read_model(prefix), "stock")[0], version)
    (tmp_path / "old.pb").write_bytes(graph.SerializeToString())
    convert("auto", tmp_path / "old.pb", tmp_path / "ours.pb")
    stock_wheel.dp(["convert-from", version, "-i", "old.pb", "-o", "stock.pb"], tmp_path)
    frames = water_like(rng)
    with DeepPot(prefix) as pot:
        expected = pot.eval(*frames, atomic=True)
    (theirs,) = stock_wheel.evaluate(tmp_path / "ours.pb", tmp_path, [frames], cpp=True)
    with DeepPot(tmp_path / "stock.pb") as pot:
        ours = dict(zip(stock_wheel.KEYS, pot.eval(*frames, atomic=True), strict=True))
    for result in (theirs, ours):
        for key, want in zip(stock_wheel.KEYS, expected, strict=True):
            got = result[key].reshape(want.shape)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())


_STRIP = """
import sys
from deepmd.tf.utils.serialization import deserialize_to_file, serialize_from_file
data = serialize_from_file(sys.argv[1])
kept = {"type", "sel", "rcut", "rcut_smth"}
for section in ("descriptor", "fitting_net"):
    known = data["model_def_script"][section]
    data["model_def_script"][section] = {k: v for k, v in known.items() if k in kept}
deserialize_to_file(sys.argv[2], data)
"""


@pytest.mark.parametrize("one_side", [True, False])
def test_files_of_other_backends(tmp_path, rng, one_side):
    """As ``dp convert-backend`` writes them, with a script that leaves out what has defaults."""
    script = small_input({"type_one_side": one_side, "resnet_dt": True}, {"resnet_dt": False})
    prefix, _ = save_checkpoint(tmp_path, script)
    freeze(prefix, tmp_path / "ours.pb")
    stock_wheel.run(["-c", _STRIP, "ours.pb", "theirs.pb"], tmp_path)
    frames = water_like(rng)
    with DeepPot(prefix) as pot, DeepPot(tmp_path / "theirs.pb") as other:
        for got, want in zip(other.eval(*frames), pot.eval(*frames), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())
