# SPDX-License-Identifier: BSD-3-Clause
"""Statistics are exchanged with stock DeePMD-kit through a file."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import stock_wheel
import tensorflow.compat.v1 as tf
from small_training import add_parameters, write_all_data, write_data, write_script

from deepmd_tf import names
from deepmd_tf.errors import InputError
from deepmd_tf.model.stat_file import RECORDS
from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

STATISTICS = (
    names.T_AVG,
    names.T_STD,
    names.BIAS_ATOM_E,
    names.FPARAM_AVG,
    names.FPARAM_ISTD,
    names.APARAM_AVG,
    names.APARAM_ISTD,
)


def contents(path):
    """Arrays by name."""
    if path.is_dir():
        files = [f for f in path.rglob("*") if f.is_file()]
        return {str(f.relative_to(path)): np.load(f) for f in files}
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, node: found.update({name: node[()]}) if hasattr(node, "shape") else None
        )
    return found


def statistics(folder):
    reader = tf.train.load_checkpoint(str(folder / "model.ckpt-1"))
    return [reader.get_tensor(name) for name in STATISTICS]


def write(folder, name, systems, **keys):
    folder.mkdir(exist_ok=True)
    data = {"systems": str(systems), "batch_size": 2}
    training = {"training_data": data, "numb_steps": 1, "disp_freq": 1, "stat_file": name, **keys}
    model = {"fitting_net": {"neuron": [10, 10], "numb_fparam": 1, "numb_aparam": 2}}
    script = write_script(folder, model=model, training=training)
    script.write_text(script.read_text().replace('"data/', f'"{folder.parent}/data/'))


@pytest.mark.parametrize("name", ["stat.hdf5", "stat"])
def test_exchange(tmp_path, monkeypatch, name):
    write_all_data(tmp_path)
    write_data(tmp_path / "data/more/other", 9, 8, 6.5)
    add_parameters(tmp_path)
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    for folder in (ours, stock):
        write(folder, name, tmp_path / "data/train")
    stock_wheel.dp(["train", "input.json"], stock)
    monkeypatch.chdir(ours)
    assert train("input.json") == 0
    written, expected = contents(ours / name), contents(stock / name)
    own = {key for key in written if f"/{RECORDS}/" in key}
    assert len(own) == 6  # with them the file is read by stock below
    written = {key: value for key, value in written.items() if key not in own}
    assert set(written) == set(expected)
    for key, value in expected.items():
        if value.dtype.kind == "S":
            assert written[key].tolist() == value.tolist()
        else:
            np.testing.assert_allclose(written[key], value, rtol=1e-10, atol=1e-10, err_msg=key)
    measured = statistics(ours)
    # with other data, statistics are still those of the file
    for folder, path in ((ours, stock / name), (stock, ours / name)):
        write(folder, str(path), tmp_path / "data/more")
    stock_wheel.dp(["train", "input.json"], stock)
    assert train("input.json") == 0
    for folder in (ours, stock):
        for value, first in zip(statistics(folder), measured, strict=True):
            np.testing.assert_allclose(value, first, rtol=1e-10, atol=1e-12)
    # read: nothing is written, and what is missing is an error
    write(ours, str(stock / name), tmp_path / "data/more", stat_file_mode="read")
    assert train("input.json") == 0
    script = ours / "input.json"
    script.write_text(script.read_text().replace('"rcut": 3.4', '"rcut": 3.3'))
    with pytest.raises(InputError, match="stat_file_mode"):
        train("input.json")
