# SPDX-License-Identifier: BSD-3-Clause
"""The same input trained by stock DeePMD-kit: same learning curve, same weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import stock_wheel
from small_training import TYPES, write_all_data, write_script

from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.lcurve import LearningCurve

from .checkpoints import variables

pytestmark = stock_wheel.needs_stock

STEPS = 12

# trains, and writes all digits of what is printed
STOCK = """
import json
from deepmd.main import main
from deepmd.tf.train.trainer import DPTrainer
rows, told = [], DPTrainer.print_on_training
def tell(fp, train_results, valid_results, cur_batch, cur_lr):
    parts = (train_results, valid_results)
    rows.append([{k: float(v) for k, v in part.items()} for part in parts])
    told(fp, train_results, valid_results, cur_batch, cur_lr)
DPTrainer.print_on_training = staticmethod(tell)
main(["--tf", "train", "input.json"])
json.dump(rows, open("rows.json", "w"))
"""


EVERY_TERM = {
    "start_pref_ae": 1.0,
    "limit_pref_pf": 20.0,
    "start_pref_gf": 5.0,
    "limit_pref_gf": 1.0,
    "numb_generalized_coord": 2,
    "relative_f": 0.5,
    "enable_atom_ener_coeff": True,
}
HUBER = {"use_huber": True, "huber_delta": [0.01, 0.1, 0.02], "limit_pref_ae": 1.0}


def add_labels(folder):
    """Random ones: nothing is to be learnt from them."""
    rng = np.random.default_rng(6)
    for path in sorted(folder.glob("data/*/*/set.*")):
        shape = (len(np.load(path / "coord.npy")), len(TYPES))
        np.save(path / "atom_ener.npy", rng.normal(size=shape))
        np.save(path / "atom_pref.npy", rng.uniform(0, 2, shape))
        np.save(path / "atom_ener_coeff.npy", rng.choice([-1.0, 1.0], shape))
        np.save(path / "drdq.npy", rng.normal(size=(shape[0], 6 * shape[1])))


@pytest.mark.parametrize("loss", [{}, EVERY_TERM, HUBER], ids=["usual", "every term", "huber"])
def test_training_step_by_step(loss, tmp_path, monkeypatch):
    write_all_data(tmp_path)
    add_labels(tmp_path)
    folders = [tmp_path / name for name in ("ours", "stock")]
    for folder in folders:
        folder.mkdir()
        keys = {"numb_steps": STEPS, "disp_freq": 3}
        script = write_script(folder, training=keys, loss=loss)
        script.write_text(script.read_text().replace('"data/', f'"{tmp_path}/data/'))
    stock_wheel.run(["-c", STOCK], folders[1])
    monkeypatch.chdir(folders[0])
    records = []
    write = LearningCurve.write
    monkeypatch.setattr(
        LearningCurve, "write", lambda self, record: (records.append(record), write(self, record))
    )
    assert train("input.json") == 0

    # before the first step both have the same weights, and the same batches all along
    for ours, theirs in zip(
        (records[0].training, records[0].validation),
        json.loads((folders[1] / "rows.json").read_text())[0],
        strict=True,
    ):
        expected = [theirs[column] for column in ours]
        np.testing.assert_allclose(list(ours.values()), expected, rtol=1e-10)

    curves = [(folder / "lcurve.out").read_text() for folder in folders]
    assert curves[0] == curves[1]
    ours, stock = (variables(folder / f"model.ckpt-{STEPS}") for folder in folders)
    assert set(ours) == set(stock)
    for name, value in ours.items():
        assert value.dtype == stock[name].dtype
        # Adam magnifies what is left of gradients that cancel
        np.testing.assert_allclose(value, stock[name], rtol=1e-6, atol=1e-7, err_msg=name)
