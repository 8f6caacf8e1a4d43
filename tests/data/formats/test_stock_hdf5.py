# SPDX-License-Identifier: BSD-3-Clause
"""HDF5 files that dpdata and h5py write give the stock wheel and us the same batches."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest
from containers import pack
from stock_wheel import PYTHON, needs_stock

from deepmd_tf import fields
from deepmd_tf.data import DataSystems, expand_systems, make_random

pytestmark = needs_stock

SCRIPT = """
import json, sys
import numpy as np
import deepmd.utils.random as dp_random
from deepmd.utils.data import DataRequirementItem
from deepmd.utils.data_system import DeepmdDataSystem, process_systems

names = process_systems(sys.argv[1])
order = sorted(range(len(names)), key=names.__getitem__)
names = [names[k] for k in order]
dp_random.seed([0, 5])
data = DeepmdDataSystem(names, 2, 1, type_map=["O", "H"])
data.add_data_requirements([
    DataRequirementItem("energy", 1, high_prec=True),
    DataRequirementItem("force", 3, atomic=True),
    DataRequirementItem("virial", 9),
])
out = {"names": np.array(names)}
for number in range(30):
    for key, value in data.get_batch().items():
        out[f"{number}/{key}"] = value
np.savez(sys.argv[2], **out)
"""
KEYS = ("coord", "box", "energy", "force", "virial", "find_energy", "find_force", "find_virial")


def write_with_h5py(make, file) -> None:
    pack(make("one", nframes=5, frames_per_set=3), file, "/one", compression="gzip")
    pack(make("two", box=None, offset=0.3), file, "/two")
    pack(make("three", force=None, virial=np.arange(36.0).reshape(4, 9)), file, "/three")


def write_with_dpdata(make, file) -> None:
    dpdata = pytest.importorskip("dpdata")
    systems = [
        dpdata.LabeledSystem(str(make(name, offset=offset)), fmt="deepmd/npy")
        for name, offset in (("one", 0.0), ("two", 0.7))
    ]
    dpdata.MultiSystems(*systems).to("deepmd/hdf5", str(file))


@pytest.mark.parametrize("write", [write_with_h5py, write_with_dpdata])
def test_batches(make, tmp_path, write) -> None:
    file = tmp_path / "data.hdf5"
    write(make, file)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [PYTHON, "script.py", str(file), "out.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    expected = np.load(tmp_path / "out.npz")
    names = expand_systems(str(file))
    assert names == expected["names"].tolist(), json.dumps(names)
    rng = make_random(5)
    labels = (fields.ENERGY, fields.FORCE, fields.VIRIAL)
    ours = DataSystems(names, 2, rng, type_map=["O", "H"], fields=labels)
    for number in range(30):
        arrays = ours.get_batch().arrays
        for key in KEYS:
            found = arrays[key]
            stock = expected[f"{number}/{key}"]
            np.testing.assert_array_equal(found, stock.reshape(found.shape), err_msg=key)
