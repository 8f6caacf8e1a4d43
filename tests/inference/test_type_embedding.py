# SPDX-License-Identifier: BSD-3-Clause
"""Models with a type embedding in files of every kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from saved_models import save_checkpoint, small_input

from deepmd_tf import names
from deepmd_tf.errors import ModelFileError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoint, frozen files in two dialects and a compressed one, of vectors with a bias."""
    root = tmp_path_factory.mktemp("types")
    script = small_input()
    script["model"]["type_embedding"] = {"neuron": [3], "use_tebd_bias": True, "seed": 5}
    prefix, _ = save_checkpoint(root, script)
    freeze(prefix, root / "stock.pb")
    freeze(prefix, root / "native.pb", dialect="native")
    compress(prefix, root / "compressed.pb")
    return root


def changed(folder, name, **values):
    """The file of the stock dialect with other constants."""
    graph = tf.GraphDef.FromString((folder / "stock.pb").read_bytes())
    for node in graph.node:
        key = node.name.rpartition("/")[2]
        if key in values:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values[key]))
    (folder / name).write_bytes(graph.SerializeToString())
    return folder / name


def test_vectors(folder):
    weights = read_model(folder / "stock.pb").weights
    expected = np.tanh(
        weights[names.type_embedding_matrix(1)] + weights[names.type_embedding_bias(1)]
    )
    for name in ("", "stock.pb", "native.pb", "compressed.pb"):
        with DeepPot(folder / name) as pot:
            np.testing.assert_allclose(pot.eval_typeebd(), expected, rtol=1e-14, err_msg=name)
            if name == "stock.pb":
                assert pot.get_model_size()["type-embedding"] == 2 * 3 + 3


def test_a_model_without(tmp_path):
    prefix, _ = save_checkpoint(tmp_path)
    with DeepPot(prefix) as pot:
        with pytest.raises(KeyError, match="has no type embedding"):
            pot.eval_typeebd()
        assert "type-embedding" not in pot.get_model_size()


def test_biases_of_which_the_script_says_nothing(folder):
    """DeePMD-kit before 3.0 had them always, and no key."""
    script = read_model(folder / "stock.pb").script
    del script["model"]["type_embedding"]["use_tebd_bias"]
    path = changed(folder, "old.pb", training_script=json.dumps(script))
    assert read_model(path).model.type_embedding.use_tebd_bias


def test_output_scale_of_one_net(folder):
    """One scale for all types is that of the last layer; two are not."""
    scaled = read_model(changed(folder, "scaled.pb", t_out_std=np.full((1, 2, 1), 2.0))).weights
    before = read_model(folder / "stock.pb").weights
    for name in ("final_layer/matrix", "final_layer/bias", names.BIAS_ATOM_E):
        np.testing.assert_array_equal(scaled[name], 2.0 * before[name])
    with pytest.raises(ModelFileError, match="the model has one net for all"):
        read_model(changed(folder, "odd.pb", t_out_std=np.array([[[1.0], [2.0]]])))
