# SPDX-License-Identifier: BSD-3-Clause
"""``se_atten`` and ``se_atten_v2`` are descriptors."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from descriptors.contract import SPLINES, DescriptorContract, Model
from saved_models import save_checkpoint

from deepmd_tf import names
from deepmd_tf.config import DescriptorConfig
from deepmd_tf.descriptors import SeAtten, SeAttenV2
from deepmd_tf.errors import InputError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.nn import attention
from deepmd_tf.nn.precision import use_interface
from deepmd_tf.ops import library

SECTION = {
    "type": "se_atten",
    "sel": 80,
    "rcut": 4.0,
    "rcut_smth": 2.5,
    "neuron": [4, 8],
    "axis_neuron": 3,
    "seed": 1,
    "attn_layer": 0,
}


@pytest.fixture(scope="module")
def smooth() -> Model:
    return Model(SECTION | {"type": "se_atten_v2", "sel": 9, "set_davg_zero": False}, {})


def test_frames_of_mixed_types(smooth, tmp_path):
    """Each with its own types, in any order and with virtual atoms, in files as DeePMD-kit feeds
    them and by DeepPot: the same as alone; also where atoms have more neighbours than ``sel``.
    """
    prefix, _ = save_checkpoint(tmp_path, smooth.script, weights=smooth.weights)
    path = freeze(prefix, tmp_path / "stock.pb").path
    rng = np.random.default_rng(3)
    coord, box = np.tile(smooth.frames.coord, (2, 1, 1)), np.tile(smooth.frames.box, (2, 1))
    n = coord.shape[1]
    types = rng.permuted(np.tile([0] * (n // 3) + [1] * (n - n // 3), (2, 1)), axis=1)
    types[1, 2] = -1
    library.stock()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(tf.GraphDef.FromString(path.read_bytes()), name="")
        feed = {
            names.T_COORD: coord.ravel(),
            names.T_TYPE: types.ravel(),
            names.T_NATOMS: [n, n, n, 0],
            names.T_BOX: box.ravel(),
            names.T_MESH: np.zeros(7, np.int32),
        }
        feed = {f"{name}:0": value for name, value in feed.items()}
        energy, force = session.run(["o_energy:0", "o_force:0"], feed)
    with DeepPot(path) as pot:
        found = pot.eval(coord, box, types, mixed_type=True)
        alone = [pot.eval(coord[f : f + 1], box[f : f + 1], types[f]) for f in range(2)]
    for f, (e, forces, *_) in enumerate(alone):
        for energies, others in ((energy, force.reshape(2, n, 3)), (found[0].ravel(), found[1])):
            np.testing.assert_allclose(energies[f], e.ravel()[0], rtol=1e-10)
            np.testing.assert_allclose(others[f], forces[0], atol=1e-9)


def test_rows_by_numpy(smooth):
    """D of the formula, from padded rows: se_atten_v2 with a mean that is subtracted."""
    weights = smooth.weights
    with tf.Graph().as_default(), tf.Session() as session:
        _, _, outputs = smooth.build("reference")
        environment = outputs.atoms.contractions[0].environment
        fetches = (environment.rows, environment.neighbor_types, outputs.descriptor)
        rows, neighbor, expected = session.run(fetches, smooth.frames.feed(outputs.inputs))
    rows = rows.reshape(len(rows), -1, 4)

    def net(x, last=""):
        for k in (1, 2):
            w = weights[f"filter_type_all/matrix_{k}{last}"]
            h = np.tanh(x @ w + weights[f"filter_type_all/bias_{k}{last}"])
            n_in, n_out = w.shape
            copies = {n_in: 1, 2 * n_in: 2}.get(n_out, 0)
            x = np.concatenate([x] * copies, axis=-1) + h if copies else h
        return x

    te = np.concatenate([weights["type_embed_net/matrix_1"], np.zeros((1, 8))])
    center = np.asarray(smooth.frames.types)[:, None] + 0 * neighbor
    t = net(np.concatenate([te[neighbor], te[center]], -1), "_two_side_ebd")
    raw = rows[..., 0] * weights[names.T_STD][center, 0] + weights[names.T_AVG][center, 0]
    switch = np.clip(1 - (1 - 2.5 * raw) ** 3, 0, 1)
    g = net(rows[..., :1]) * (1 + t * switch[..., None])
    moment = np.einsum("nsc,nsm->ncm", rows, g) / 9
    found = np.einsum("ncm,nck->nmk", moment, moment[:, :, :3]).reshape(len(rows), -1)
    np.testing.assert_allclose(found, expected[0], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    ("keys", "dtype", "warned"),
    [
        ({}, tf.float32, True),
        ({}, tf.float64, False),
        ({"smooth_type_embedding": True}, tf.float32, False),
        ({"attn_layer": 0}, tf.float32, False),
        ({"type": "se_atten_v2"}, tf.float32, False),
    ],
)
def test_attention_of_few_digits(caplog, keys, dtype, warned):
    """Forces of a neighbour near the cutoff have none in float32; said once."""

    class Zeros:
        def get(self, name, shape, dtype, *_):
            return tf.zeros(shape, dtype)

    section = SECTION | {"attn_layer": 1} | keys
    config = DescriptorConfig.registered[section["type"]].from_dict(section)
    attention._warn_of_single_precision.cache_clear()
    with tf.Graph().as_default(), use_interface(dtype):
        for scope in ("_0", "_1"):
            attention.AttentionLayers(config, 8, None, scope).build(Zeros())
    assert caplog.text.count("without smooth_type_embedding can be far off") == warned


class TestJoined(DescriptorContract):
    descriptor = SeAtten
    variant = True
    section = SECTION | {"exclude_types": [[0, 0]]}

    def test_compressed(self, model):
        with pytest.raises(InputError, match="does not exist in the compressed dialect"):
            model.run(model.frames, "stock", splines=SPLINES)


class TestStripped(DescriptorContract):
    descriptor = SeAtten
    variant = True
    section = SECTION | {"tebd_input_mode": "strip", "resnet_dt": True}


class TestSmooth(DescriptorContract):
    descriptor = SeAttenV2
    variant = True
    section = SECTION | {"type": "se_atten_v2"}


class TestAttention(DescriptorContract):
    descriptor = SeAtten
    variant = True
    rounding = 1e-10  # that of the switch near the cutoff is in directions
    section = SECTION | {
        "sel": 40,
        "attn_layer": 2,
        "attn": 3,
        "attn_mask": True,
        "exclude_types": [[0, 0]],
    }

    def test_compressed(self, model):
        with pytest.raises(InputError, match="does not exist in the compressed dialect"):
            model.run(model.frames, "stock", splines=SPLINES)


class TestSmoothAttention(DescriptorContract):
    descriptor = SeAttenV2
    hessians_in_short = True
    rounding = 1e-10
    section = SECTION | {
        "type": "se_atten_v2",
        "sel": 40,
        "attn_layer": 2,
        "attn": 3,
        "exclude_types": [[1, 1]],
        "set_davg_zero": True,
    }

    test_compressed = TestAttention.test_compressed
