# SPDX-License-Identifier: BSD-3-Clause
"""Forms of batch sizes and of probabilities of systems."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmd_tf.config import BatchSizeRule, SystemProbability
from deepmd_tf.config.probability import check_sys_probs


@pytest.mark.parametrize(
    ("value", "natoms", "frames"),
    [
        (3, 192, 3),
        ([1, 4], 192, 4),
        ("auto", 192, 1),
        ("auto", 5, 7),
        ("auto:64", 5, 13),
        ("auto:10", 5, 2),
        ("max:64", 5, 12),
        ("max:64", 192, 1),
        ("filter:64", 5, 12),
    ],
)
def test_frames_of_system_1(value, natoms, frames):
    assert BatchSizeRule.parse(value).frames(natoms, 1) == frames


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_auto_is_the_smallest_and_max_the_largest_that_fits(atoms, natoms):
    frames = BatchSizeRule.parse(f"auto:{atoms}").frames(natoms, 0)
    assert (frames - 1) * natoms < atoms <= frames * natoms
    frames = BatchSizeRule.parse(f"max:{atoms}").frames(natoms, 0)
    assert frames == 1 or frames * natoms <= atoms < (frames + 1) * natoms


def test_filter_leaves_out_large_systems():
    size = BatchSizeRule.parse("filter:64")
    assert size.keeps(64)
    assert not size.keeps(65)
    assert BatchSizeRule.parse("max:64").keeps(65)


def test_parsing_a_parsed_one():
    size = BatchSizeRule.parse("max:7")
    assert BatchSizeRule.parse(size) is size


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        (0, "an integer ≥ 1"),
        (True, "an integer ≥ 1"),
        (1.5, "an integer ≥ 1"),
        (None, "an integer ≥ 1"),
        ([], "the list is empty"),
        ([1, 0], "an integer ≥ 1"),
        ([1, "auto"], "an integer ≥ 1"),
        ("4", "an integer ≥ 1"),
        ("auto:", '"auto" needs a number of atoms'),
        ("auto:-3", '"auto" needs a number of atoms'),
        ("auto:32:5", '"auto" needs a number of atoms'),
        ("auto:1e3", '"auto" needs a number of atoms'),
        ("max", '"max" needs a number of atoms'),
        ("filter:0", '"filter" needs a number of atoms'),
        ("mixed", '"mixed" needs a number of frames ≥ 1 after a colon, as in "mixed:8"'),
        ("mix:8", "LMDB data sets of other backends"),
    ],
)
def test_wrong_batch_sizes(value, fragment):
    with pytest.raises(ValueError, match=fragment):
        BatchSizeRule.parse(value)


def test_probability_forms():
    assert SystemProbability.parse("prob_uniform").rule == "uniform"
    assert SystemProbability.parse("prob_sys_size") == SystemProbability("size")
    blocks = SystemProbability.parse("prob_sys_size;0:3:0.5;3:10:2").blocks
    assert blocks == ((0, 3, 0.5), (3, 10, 2.0))
    assert blocks[1].end == 10


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("prob_size", "expected"),
        (None, "expected"),
        (["prob_uniform"], "expected"),
        ("prob_sys_size;", 'the block "" must be <first>:<end>:<weight>'),
        ("prob_sys_size;0:1", "must be <first>:<end>:<weight>"),
        ("prob_sys_size;0:1:x", "must be <first>:<end>:<weight>"),
        ("prob_sys_size;2:2:1", "holds no system"),
        ("prob_sys_size;-2:1:1", "holds no system"),
        ("prob_sys_size;0:1:-1", "the weight of the block"),
        ("prob_sys_size;0:1:nan", "the weight of the block"),
        ("prob_sys_size;0:1:0;1:2:0", "at least one weight must be larger than 0"),
        ("prob_sys_size;0:1:1e308;1:2:1e308", "their sum finite"),
        ("prob_sys_size;4:9:1;0:5:1", "the blocks 0:5 and 4:9 overlap"),
    ],
)
def test_wrong_probabilities(text, fragment):
    with pytest.raises(ValueError, match=fragment):
        SystemProbability.parse(text)


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5], [0.25, -1, -2], [0.1] * 10, [-1, -1]])
def test_probabilities_that_add_up(values):
    check_sys_probs(values)


@pytest.mark.parametrize(
    ("values", "fragment"),
    [
        ([0.5, 0.6], "add up to 1.1, more than 1"),
        ([0.5, 0.4], "add up to 0.9, not 1; a negative entry would take"),
        ([], "add up to 0, not 1"),
        ([0.5, 0.5, -1], "nothing is left for the negative entries"),
    ],
)
def test_probabilities_that_do_not(values, fragment):
    with pytest.raises(ValueError, match=fragment):
        check_sys_probs(values)
