# SPDX-License-Identifier: BSD-3-Clause
"""Weights are taken only from checkpoints of the same model."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_training import INPUT

from deepmd_tf.config import Config
from deepmd_tf.errors import CheckpointError, ModelFileError
from deepmd_tf.training.compare import read_saved, require_same_model


def config(section: str = "descriptor", **changes) -> Config:
    script = copy.deepcopy(INPUT)
    script["model"][section] = script["model"].get(section, {}) | changes
    return Config.from_dict(script)


def saved(of: Config, type_map=("O", "H")) -> SimpleNamespace:
    return SimpleNamespace(
        path=Path("model.ckpt-5"),
        dialect="checkpoint",
        model=of.model,
        type_map=tuple(type_map),
        interface_dtype=np.dtype(np.float64),
    )


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("descriptor", {"rcut": 3.5}),
        ("descriptor", {"rcut_smth": 0.6}),
        ("descriptor", {"sel": [20, 12]}),
        ("descriptor", {"activation_function": "gelu"}),
        ("descriptor", {"resnet_dt": True}),
        ("descriptor", {"type_one_side": True}),
        ("descriptor", {"exclude_types": [[0, 1]]}),
        ("descriptor", {"set_davg_zero": True}),
        ("fitting_net", {"activation_function": "relu"}),
        ("fitting_net", {"resnet_dt": False}),
        ("fitting_net", {"atom_ener": [1.0, None]}),
    ],
)
def test_every_key_counts(section, changes):
    key = next(iter(changes))
    with pytest.raises(CheckpointError, match=f"of another model.*: {section}/{key} is ") as error:
        require_same_model(config(section, **changes), ["O", "H"], saved(config()))
    assert str(error.value).count(" in the checkpoint") == 1


def test_type_map_and_all_differences_are_named():
    with pytest.raises(CheckpointError) as error:
        require_same_model(config(rcut=3.5, resnet_dt=True), ["H", "O"], saved(config()))
    for text in (
        'type_map is ["H", "O"] in the input script, ["O", "H"] in the checkpoint',
        "descriptor/rcut is 3.5 in the input script, 3.4 in the checkpoint",
        "descriptor/resnet_dt is true in the input script, false in the checkpoint",
    ):
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("descriptor", {"seed": 5, "trainable": False}),
        ("descriptor", {"sel": "auto"}),
        ("descriptor", {"precision": "float64"}),
        ("fitting_net", {"seed": 5, "rcond": 1e-3, "trainable": [True, False, True]}),
    ],
)
def test_what_is_the_same_model(section, changes):
    changed = config(section, **changes)
    assert require_same_model(changed, ["O", "H"], saved(config())) is None


@pytest.mark.parametrize(
    ("there", "text"),
    [
        (config(), r'type_embedding is {"neuron": \[3\], .*} in the input script, null in the'),
        (config("type_embedding", neuron=[2]), r"type_embedding/neuron is \[3\] in the input"),
    ],
)
def test_type_embedding_counts(there, text):
    here = config("type_embedding", neuron=[3])
    with pytest.raises(CheckpointError, match=text):
        require_same_model(here, ["O", "H"], saved(there))
    same = config("type_embedding", neuron=[3], seed=4, trainable=False)
    assert require_same_model(here, ["O", "H"], saved(same)) is None


def test_default_type_embedding_is_the_same_as_one_in_the_script():
    """Of a descriptor that needs one."""
    script = copy.deepcopy(INPUT)
    script["model"]["descriptor"]["type"] = "se_a_ebd_v2"
    asked = Config.from_dict(script)
    script["model"]["type_embedding"] = {"neuron": [8], "activation_function": "linear"}
    given = Config.from_dict(script)
    assert require_same_model(given, ["O", "H"], saved(asked)) is None
    assert require_same_model(asked, ["O", "H"], saved(given)) is None


ATTENTION = {"type": "se_atten", "attn_layer": 1, "smooth_type_embedding": True}


@pytest.mark.parametrize(
    ("keys", "changes"),
    [
        ({}, True),
        ({"type": "se_e2_r"}, False),
        (ATTENTION, False),
        (ATTENTION | {"attn_layer": 0}, True),
        (ATTENTION | {"smooth_type_embedding": False}, True),
        ({"type": "se_atten_v2", "attn_layer": 1}, False),
    ],
)
def test_another_sel_where_empty_slots_contribute_nothing(keys, changes):
    """Only for others does the message say how it can be changed."""

    def models(**more):
        script = copy.deepcopy(INPUT)
        common = {"type": "se_e2_a", "rcut": 4.0, "neuron": [4, 8]} | keys | more
        for sel in ([12, 20], [14, 22]):
            script["model"]["descriptor"] = common | {"sel": sel}
            yield Config.from_dict(script)

    def check(here, there):
        file = SimpleNamespace(**vars(saved(there)) | {"dialect": "native"})
        require_same_model(here, ["O", "H"], file, any_sel=True)

    if changes:
        check(*models(set_davg_zero=True))
    else:
        with pytest.raises(ModelFileError, match="descriptor/sel is") as error:
            check(*models(set_davg_zero=True))
        assert "set_davg_zero" not in str(error.value)
    with pytest.raises(ModelFileError, match="descriptor/sel is") as error:
        check(*models(set_davg_zero=False))
    assert ("sel can be changed only if set_davg_zero is true" in str(error.value)) == changes


def test_order_of_excluded_pairs_does_not_matter():
    one, other = config(exclude_types=[[0, 1], [1, 1]]), config(exclude_types=[[1, 1], [1, 0]])
    assert require_same_model(one, ["O", "H"], saved(other)) is None


def test_nameless_types_and_foreign_checkpoints_pass(tmp_path, caplog):
    require_same_model(config(), None, saved(config()))
    require_same_model(config(), ["O", "H"], saved(config(), ()))
    require_same_model(config(), ["O", "H"], None)
    assert read_saved(tmp_path / "model.ckpt-5") is None
    assert len(caplog.messages) == 1
    assert "only the shapes of the weights can be compared" in caplog.text
