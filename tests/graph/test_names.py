# SPDX-License-Identifier: BSD-3-Clause
"""Names of weights, in the spelling of stock files."""

from __future__ import annotations

import pytest

from deepmd_tf import names


def test_names_of_weights():
    assert names.embedding_matrix(1, None, 0) == "filter_type_all/matrix_1_0"
    assert names.embedding_bias(2, 1, 0) == "filter_type_1/bias_2_0"
    assert names.embedding_idt(3, 0, 1) == "filter_type_0/idt_3_1"
    assert names.fitting_matrix(0, 1) == "layer_0_type_1/matrix"
    assert names.fitting_idt(2, 0) == "layer_2_type_0/idt"
    assert names.fitting_bias(None, 1) == "final_layer_type_1/bias"
    assert names.fitting_matrix(1, 0, "first") == "share_first_type_0/matrix"


def test_names_of_weights_for_all_types():
    assert names.embedding_matrix(1, None, None) == "filter_type_all/matrix_1"
    assert names.embedding_idt(2, None, None, "_1") == "filter_type_all_1/idt_2"
    assert names.fitting_matrix(0, None) == "layer_0/matrix"
    assert names.fitting_bias(None, None) == "final_layer/bias"
    assert names.fitting_idt(1, None, "first") == "share_first/idt"
    assert names.type_embedding_matrix(1) == "type_embed_net/matrix_1"
    assert names.weight_owner(names.type_embedding_idt(2)) == "type-embedding"
    assert names.weight_owner("layer_1/idt") == "fitting-net"


@pytest.mark.parametrize(
    "name",
    [
        names.embedding_matrix(12, 3, 4),
        names.embedding_idt(1, None, 0),
        names.fitting_bias(None, 10),
        names.fitting_idt(1, 0, "my/layer"),
        names.embedding_bias(1, None, None),
        "filter_type_all_0/matrix_2_two_side_ebd",
        names.fitting_matrix(None, None),
        names.type_embedding_bias(3),
        "attention_layer_0/layer_normalization/gamma",
        "attention_layer_1_2/layer_normalization_3/beta",
        names.T_STD,
        names.BIAS_ATOM_E,
    ],
)
def test_parameters(name):
    assert names.is_parameter(name)


def test_present_names():
    for name in ("layer_0/matrix", "attention_layer_1/layer_normalization/gamma"):
        assert names.present(name) == name
    for slot in ("", "/Adam_1"):
        old = f"attention_layer_1_0/layer_normalization_2/beta{slot}"
        assert names.present(old) == f"attention_layer_1_0/layer_normalization/beta{slot}"


@pytest.mark.parametrize(
    "name",
    [
        "filter_type_0/matrix_1_0/Adam",
        "layer_0_type_0/bias/Adam_1",
        "layer_0_type_0/matrix/read",
        "load/layer_0_type_0/matrix",
        "layer_0/matrix/Adam",
        "embedding_table/n_nodes",
        "beta1_power",
        names.GLOBAL_STEP,
        names.RCUT,
        names.T_COORD,
    ],
)
def test_other_nodes(name):
    assert not names.is_parameter(name)
