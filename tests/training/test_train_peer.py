# SPDX-License-Identifier: BSD-3-Clause
"""The same input trained by stock DeePMD-kit: same learning curve, same weights."""

from __future__ import annotations

import numpy as np
import stock_wheel
import tensorflow.compat.v1 as tf
from small_training import write_all_data, write_script

from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

STEPS = 12


def variables(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_training_step_by_step(tmp_path, monkeypatch):
    write_all_data(tmp_path)
    folders = [tmp_path / name for name in ("ours", "stock")]
    for folder in folders:
        folder.mkdir()
        keys = {"numb_steps": STEPS, "disp_freq": 3}
        script = write_script(folder, training=keys)
        script.write_text(script.read_text().replace('"data/', f'"{tmp_path}/data/'))
    stock_wheel.dp(["train", "input.json"], folders[1])
    monkeypatch.chdir(folders[0])
    assert train("input.json") == 0

    curves = [(folder / "lcurve.out").read_text() for folder in folders]
    assert curves[0] == curves[1]
    ours, stock = (variables(folder / f"model.ckpt-{STEPS}") for folder in folders)
    assert set(ours) == set(stock)
    for name, value in ours.items():
        assert value.dtype == stock[name].dtype
        # Adam magnifies what is left of gradients that cancel
        np.testing.assert_allclose(value, stock[name], rtol=1e-6, atol=1e-7, err_msg=name)
