# SPDX-License-Identifier: BSD-3-Clause
"""The loss of stock DeePMD-kit for the same predictions and labels: same value, same columns."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import stock_wheel
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf.config import LossEner
from deepmd_tf.data import Batch
from deepmd_tf.losses import EnergyLoss

pytestmark = stock_wheel.needs_stock

START_LR, LR = 1e-3, np.float32(2.345678e-4)
N_FRAMES, N, N_Q = 4, 6, 2
SHAPES = {
    "energy": (N_FRAMES,),
    "force": (N_FRAMES, 3 * N),
    "virial": (N_FRAMES, 9),
    "atom_ener": (N_FRAMES, N),
}
DEFAULT = {"start_pref_e": 0.0, "limit_pref_e": 0.0, "start_pref_f": 0.0, "limit_pref_f": 0.0}
PREFACTORS = {
    term: {f"start_pref_{term}": start, f"limit_pref_{term}": limit}
    for term, start, limit in (
        ("e", 0.02, 1.3),
        ("f", 1000.0, 1.0),
        ("v", 0.07, 0.9),
        ("ae", 3.0, 0.0),
        ("pf", 11.0, 2.0),
        ("gf", 0.0, 5.0),
    )
}
Q = {"numb_generalized_coord": N_Q}
DELTAS = [0.1, 0.4, 0.2]
ALL = {key: value for keys in PREFACTORS.values() for key, value in keys.items()} | Q
HUBER = {"use_huber": True, "huber_delta": DELTAS}
CASES = {
    **{f"{term}": keys | (Q if term == "gf" else {}) for term, keys in PREFACTORS.items()},
    "e intensive": PREFACTORS["e"] | {"intensive_ener_virial": True},
    "v intensive": PREFACTORS["v"] | {"intensive_ener_virial": True},
    "e of coefficients": PREFACTORS["e"] | {"enable_atom_ener_coeff": True},
    "f relative": PREFACTORS["f"] | {"relative_f": 0.6},
    "pf relative": PREFACTORS["pf"] | {"relative_f": 0.6},
    "all": ALL,
    "all, every option": ALL
    | {"relative_f": 2.0, "enable_atom_ener_coeff": True, "intensive_ener_virial": True},
    **{f"{term} huber": PREFACTORS[term] | HUBER for term in ("e", "f", "v", "ae")},
    "huber of one delta": PREFACTORS["e"]
    | PREFACTORS["f"]
    | {"use_huber": True, "huber_delta": 0.3, "enable_atom_ener_coeff": True},
}
STOCK = """
import json, sys
import numpy as np
from deepmd.tf.env import tf
from deepmd.tf.loss.ener import EnerStdLoss
given = dict(np.load("given.npz"))
labels = {k[6:]: v for k, v in given.items() if k.startswith("label_")}
n = labels["atom_ener"].shape[1]
results = {}
for name, keys in json.load(open("cases.json")).items():
    with tf.Graph().as_default(), tf.Session() as session:
        feed = {}
        def put(dtype, value):
            node = tf.placeholder(dtype, np.shape(value))
            feed[node] = value
            return node
        model = {k[6:]: put(tf.float64, v) for k, v in given.items() if k.startswith("model_")}
        label = {k: put(tf.float64, v) for k, v in labels.items()}
        label |= {"find_" + k: put(tf.float32, 1.0) for k in labels}
        natoms = put(tf.int32, [n, n, 2, n - 2])
        loss = EnerStdLoss(starter_learning_rate=float(given["start_lr"]), **keys)
        lr = put(tf.float32, given["lr"])
        total, _ = loss.build(lr, natoms, model, label, "test")
        results[name] = loss.eval(session, feed, [n]) | {"loss": session.run(total, feed)}
results = {k: {c: float(x) for c, x in v.items()} for k, v in results.items()}
json.dump(results, open("results.json", "w"))
"""


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(3)
    model = {key: rng.normal(size=shape) for key, shape in SHAPES.items()}
    labels = {key: model[key] + 0.5 * rng.normal(size=shape) for key, shape in SHAPES.items()}
    model["energy"] -= 2000.0
    labels["energy"] -= 2000.0
    labels["atom_pref"] = np.repeat(rng.uniform(0, 2, (N_FRAMES, N)), 3, axis=1)
    labels["drdq"] = rng.normal(size=(N_FRAMES, 3 * N * N_Q))
    labels["atom_ener_coeff"] = rng.choice([-1.0, 1.0, 2.0], (N_FRAMES, N))
    return model, labels


@pytest.fixture(scope="module")
def stock(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    (folder / "cases.json").write_text(json.dumps({k: DEFAULT | v for k, v in CASES.items()}))
    given = {
        f"{kind}_{key}": value
        for kind, part in zip(("model", "label"), arrays, strict=True)
        for key, value in part.items()
    }
    np.savez(folder / "given.npz", lr=LR, start_lr=START_LR, **given)
    stock_wheel.run(["-c", STOCK], folder)
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_same_loss(case, arrays, stock):
    model, labels = arrays
    loss = EnergyLoss(LossEner(**DEFAULT | CASES[case]))
    found = {f"find_{name}": np.float32(1.0) for name in labels}
    batch = Batch(found, np.array([N, N, 2, N - 2]), np.zeros(6), 0, "set", np.arange(N_FRAMES))
    weights = loss.weights(LR, START_LR, batch)
    with tf.Graph().as_default(), plain_session() as session:
        outputs = SimpleNamespace(**{key: tf.constant(value) for key, value in model.items()})
        outputs.atom_energy, outputs.natoms = outputs.atom_ener, N
        tensors = {key: tf.constant(value.ravel()) for key, value in labels.items()}
        built = loss.build(outputs, tensors, tf.constant(weights))
        total, values = session.run([built.total, built.values])
    theirs = stock[case]
    np.testing.assert_allclose(total, theirs.pop("loss"), rtol=1e-10)
    assert theirs.pop("natoms") == N
    ours = loss.displayed(values, weights, batch)
    assert list(ours) == list(theirs)
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-10)
