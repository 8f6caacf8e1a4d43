# SPDX-License-Identifier: BSD-3-Clause
"""The floor under times, and the operations that a profile counts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from harness import floor
from harness.inputs import WATER
from harness.programs import ours
from profile_step import Node, by_kind, product_flops


def test_matrices_are_those_of_the_fitting_net_of_the_example():
    model = json.loads((WATER / "se_e2_a" / "input.json").read_text())["model"]
    descriptor, widths = model["descriptor"], model["fitting_net"]["neuron"]
    inputs = descriptor["neuron"][-1] * descriptor["axis_neuron"]
    layers = zip([inputs, *widths], [*widths, 1], strict=True)
    assert sum(before * after for before, after in layers) == floor.WEIGHTS


def test_operations_of_an_evaluation_and_a_step():
    # a product with each weight is a multiplication and an addition
    assert floor.operations(1, 3) == pytest.approx(3 * 2 * floor.WEIGHTS / 1e9)
    assert floor.operations(floor.STEP, 192) == 3 * floor.operations(floor.EVALUATION, 192)


def test_the_rate_is_the_best_of_all_measurements():
    rate = floor.Rate({"NumPy": 60.0, "TensorFlow": 50.0})
    assert (rate.gflops, rate.by, str(rate)) == (60.0, "NumPy", "60 (NumPy, TensorFlow 50)")
    rate.include(floor.Rate({"NumPy": 55.0, "TensorFlow": 70.0}))
    assert str(rate) == "70 (TensorFlow, NumPy 60)"


@pytest.mark.slow
def test_rates_of_this_machine(tmp_path):
    rate = floor.measure_rate(ours(), tmp_path, "float64", 1, 0.01)
    assert set(rate.best) == {"NumPy", "TensorFlow", "deepmd_tf"}
    assert all(value > 0.01 for value in rate.best.values())


@pytest.mark.parametrize("batch", [(), (5,)])
def test_operations_of_a_product_by_either_side(batch):
    a, b = np.ones((*batch, 2, 3)), np.ones((*batch, 3, 4))
    # every element of the result is a sum of three products
    expected = 2 * 3 * (a @ b).size
    assert product_flops((a @ b).shape, a.size, None) == expected
    assert product_flops((a @ b).shape, None, b.size) == expected
    assert product_flops((a @ b).shape, None, None) is None


def test_profile_by_kind():
    nodes = [Node("a", "MatMul", 2.0, 4e6), Node("b", "MatMul", 4.0, 8e6), Node("c", "Add", 2.0)]
    lines = by_kind([*nodes, Node("d", "Mul", 1.0), Node("e", "Sub", 1.0)], most=2).splitlines()
    assert lines[2:] == [
        "| MatMul | 2 | 6.00 | 60% | 2 |",
        "| Add | 1 | 2.00 | 20% |  |",
        "| others | 2 | 2.00 | 20% |  |",
        "| all | 5 | 10.00 | 100% |  |",
    ]
