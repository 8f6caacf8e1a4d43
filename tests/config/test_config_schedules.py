# SPDX-License-Identifier: BSD-3-Clause
"""Learning rates against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepmd_tf.config import LearningRateCosine, LearningRateExp, LearningRateWSD, schedule
from deepmd_tf.errors import InputError

START, STOP = 1e-3, 1e-6


def exp(**keys):
    return LearningRateExp(start_lr=START, stop_lr=STOP, **keys)


def test_values_are_float32():
    lr = schedule(exp(), 1000)
    assert type(lr(0)) is np.float32
    assert lr(np.arange(5)).dtype == np.float32
    assert lr(np.arange(5)).shape == (5,)
    assert lr(0) == np.float32(START)


def test_exponential_in_stairs():
    lr = schedule(exp(decay_steps=100), 1000)
    rate = (STOP / START) ** (100 / 1000)
    for step in (0, 1, 99, 100, 550, 999, 1000):
        assert lr(step) == np.float32(START * rate ** (step // 100))
    assert lr(99) == lr(0) > lr(100)
    assert lr(5000) == np.float32(STOP)


def test_exponential_smooth():
    lr = schedule(exp(decay_steps=100, smooth=True), 1000)
    steps = np.arange(0, 1001)
    expected = START * (STOP / START) ** (steps / 1000)
    np.testing.assert_allclose(lr(steps), expected, rtol=2e-7)


@pytest.mark.parametrize(
    ("num_steps", "every"), [(5000, 51), (2000, 100), (1009, 11), (20, 1), (1, 1), (200000, 5000)]
)
def test_length_of_a_stair_is_adapted(num_steps, every):
    """A hundredth of the training plus one, at most 100, when 5000 would be too long."""
    if num_steps == 5000:
        every = 100  # 5000 // 10 > 100
    lr = schedule(exp(), num_steps)
    rates = lr(np.arange(num_steps + 1))
    drops = np.flatnonzero(np.diff(rates)) + 1
    assert set(drops % every) <= {0}
    assert drops[0] == every


def test_given_decay_rate_keeps_decay_steps_and_stop_lr_is_a_floor():
    lr = schedule(exp(decay_rate=0.5, decay_steps=7), 100)
    assert lr(6) == np.float32(START)
    assert lr(7) == np.float32(START / 2)
    assert lr(14) == np.float32(START / 4)
    assert lr(99) == np.float32(STOP)


def test_zero_as_the_end_of_an_exponential():
    config = LearningRateExp(start_lr=START, stop_lr=0.0, decay_steps=1)
    assert schedule(config, 1000)(1000) == pytest.approx(1e-10, rel=1e-5)


@pytest.mark.parametrize("start", [1e-10, 1e-11, 1e-30])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("kind", ["exp", "cosine"])
def test_tiny_learning_rates_do_not_grow(start, smooth, kind):
    options = {"start_lr": start, "stop_lr": 0.0}
    if kind == "exp":
        config = LearningRateExp(decay_steps=10, smooth=smooth, **options)
    else:
        config = LearningRateCosine(**options)
    lr = schedule(config, 100)
    assert np.all(np.diff(lr(np.arange(101))) <= 0) and lr(0) == np.float32(start)


def test_cosine():
    lr = schedule(LearningRateCosine(start_lr=START, stop_lr=STOP), 400)
    steps = np.arange(0, 401)
    expected = STOP + (START - STOP) * (1 + np.cos(math.pi * steps / 400)) / 2
    np.testing.assert_allclose(lr(steps), expected, rtol=2e-7)
    assert lr(200) == pytest.approx((START + STOP) / 2, rel=1e-6)
    assert lr(400) == lr(1000) == np.float32(STOP)


@pytest.mark.parametrize(
    ("kind", "middle"),
    [
        ("inverse_linear", 2 / (1 / START + 1 / STOP)),
        ("cosine", (START + STOP) / 2),
        ("linear", (START + STOP) / 2),
    ],
)
def test_warmup_stable_decay(kind, middle):
    config = LearningRateWSD(
        start_lr=START, stop_lr=STOP, decay_phase_ratio=0.2, decay_type=kind, warmup_steps=100
    )
    lr = schedule(config, 1000)
    assert lr(0) == 0
    assert lr(50) == np.float32(START / 2)
    assert set(lr(np.arange(100, 801))) == {np.float32(START)}
    assert lr(900) == pytest.approx(middle, rel=1e-6)
    assert lr(1000) == np.float32(STOP)
    assert np.all(np.diff(lr(np.arange(800, 1001))) < 0)


def test_warmup_from_a_fraction():
    lr = schedule(exp(warmup_ratio=0.1, warmup_start_factor=0.5, decay_steps=90), 1000)
    assert lr.warmup_steps == 100
    assert lr(0) == np.float32(START / 2)
    assert lr(50) == np.float32(0.75 * START)
    assert lr(100) == lr(189) == np.float32(START)
    assert lr(190) == np.float32(START * (STOP / START) ** 0.1), (
        "the decay begins after the warm-up"
    )
    assert lr(1000) == pytest.approx(STOP, rel=1e-6)


def test_stop_as_a_ratio():
    lr = schedule(LearningRateCosine(start_lr=START, stop_lr_ratio=0.25), 10)
    assert lr(10) == np.float32(START / 4)


def test_warmup_longer_than_the_training():
    with pytest.raises(InputError, match=r"50 steps.*of 50"):
        schedule(exp(warmup_steps=50), 50)


def test_end_of_training_is_the_end_of_the_schedule():
    for config in (
        exp(decay_steps=1),
        LearningRateCosine(start_lr=START, stop_lr=STOP),
        LearningRateWSD(start_lr=START, stop_lr=STOP),
    ):
        lr = schedule(config, 321)
        assert lr(0) == np.float32(START)
        assert lr(321) == pytest.approx(STOP, rel=1e-6)
        assert np.all(np.diff(lr(np.arange(322))) <= 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, None),
        ({"decay_steps": 99}, None),
        ({"decay_steps": 100}, "is 100, but the decay has 100 steps only: the learning rate would"),
        ({"decay_steps": 500, "decay_rate": 0.5}, "the learning rate never drops"),
    ],
)
def test_steps_as_long_as_the_decay_are_told(options, words, caplog):
    """Where they are given; the default does not mean them."""
    config = LearningRateExp.from_dict({"type": "exp", "start_lr": START} | options)
    schedule(config, 100)
    assert (words in caplog.text) if words else not caplog.text
