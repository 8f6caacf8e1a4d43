# SPDX-License-Identifier: BSD-3-Clause
"""A step of Adam as one operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import paper_gpu
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf import ops

BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8
SHAPES = ((), (7,), (4096,), (31, 149), (3, 4097))
DTYPES = (np.float64, np.float32, np.float64, np.float32, np.float64)
TERMS = (1, 2, 1, 2, 2)


class State(NamedTuple):
    variables: list[Any]
    first: list[Any]
    second: list[Any]
    powers: list[Any]


def run(before: State, steps: Sequence[Sequence[Sequence[np.ndarray]]], **changed: Any) -> State:
    """The state after steps with these gradients."""
    arguments = {"loss": 1.0, "rate": 1e-3, "beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON}
    arguments |= {"message": "bad"} | changed
    with tf.Graph().as_default(), plain_session() as session:
        state = State(*([tf.Variable(a, use_resource=False) for a in part] for part in before))
        gradients = [[tf.placeholder(g.dtype, g.shape) for g in parts] for parts in steps[0]]
        step = ops.apply_adam(
            state.variables, (state.first, state.second), state.powers, gradients, **arguments
        )
        session.run(tf.global_variables_initializer())
        flat = [g for parts in gradients for g in parts]
        try:
            for given in steps:
                values = [g for parts in given for g in parts]
                session.run(step, dict(zip(flat, values, strict=True)))
        finally:
            run.after = session.run(state)
        return run.after


def start(rng: np.random.Generator) -> State:
    def arrays(scale: float) -> list[np.ndarray]:
        return [
            np.asarray(scale * rng.normal(size=shape), dtype)
            for shape, dtype in zip(SHAPES, DTYPES, strict=True)
        ]

    # of a fourth step
    powers = [np.float32(beta**4) for beta in (BETA1, BETA2)]
    return State(arrays(1), arrays(1e-2), [np.square(a) for a in arrays(1e-2)], powers)


def draw(rng: np.random.Generator) -> list[list[np.ndarray]]:
    return [
        [np.asarray(10.0 ** rng.integers(-4, 2) * rng.normal(size=s), d) for _ in range(n)]
        for s, d, n in zip(SHAPES, DTYPES, TERMS, strict=True)
    ]


def same_bits(one: State, other: State) -> bool:
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for parts in zip(one, other, strict=True)
        for a, b in zip(*parts, strict=True)
    )


def assert_close(found: State, expected: State) -> None:
    for name in State._fields:
        pairs = zip(getattr(found, name), getattr(expected, name), strict=True)
        for k, (value, wanted) in enumerate(pairs):
            tolerance = 1e-15 if value.dtype == np.float64 else 1e-6
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(
                value, wanted, rtol=0, atol=tolerance * scale, err_msg=f"{name} {k}"
            )


def test_against_numpy(rng: np.random.Generator) -> None:
    """The formula, in more digits, with λ, β and ε as they are in float32."""
    before, gradients = start(rng), draw(rng)
    found = run(before, [gradients])
    rate, beta1, beta2, epsilon = np.array([1e-3, BETA1, BETA2, EPSILON], np.float32).astype(
        np.longdouble
    )
    power1, power2 = np.array(before.powers, np.longdouble)
    rate *= np.sqrt(1 - power2) / (1 - power1)
    expected = State([], [], [], [power1 * beta1, power2 * beta2])
    for x, m, v, parts in zip(
        before.variables, before.first, before.second, gradients, strict=True
    ):
        g = sum(part.astype(np.longdouble) for part in parts)
        expected.first.append(beta1 * m + (1 - beta1) * g)
        expected.second.append(beta2 * v + (1 - beta2) * g**2)
        expected.variables.append(
            x - rate * expected.first[-1] / (np.sqrt(expected.second[-1]) + epsilon)
        )
    assert_close(found, expected)


def test_against_tensorflow(rng: np.random.Generator) -> None:
    """Several steps from nothing."""
    before, steps = start(rng), [draw(rng) for _ in range(5)]
    zeros = [np.zeros_like(a) for a in before.variables]
    before = State(before.variables, zeros, zeros, [np.float32(BETA1), np.float32(BETA2)])
    found = run(before, steps)
    with tf.Graph().as_default(), plain_session() as session:
        adam = tf.train.AdamOptimizer(1e-3, BETA1, BETA2, EPSILON)
        variables = [tf.Variable(a, use_resource=False) for a in before.variables]
        gradients = [tf.placeholder(v.dtype.base_dtype, v.shape) for v in variables]
        step = adam.apply_gradients(zip(gradients, variables, strict=True))
        session.run(tf.global_variables_initializer())
        for given in steps:
            session.run(step, dict(zip(gradients, map(sum, given), strict=True)))
        moments = ([adam.get_slot(v, name) for v in variables] for name in ("m", "v"))
        expected = session.run(State(variables, *moments, list(adam._get_beta_accumulators())))
    assert_close(found, State(*expected))


def results() -> list[np.ndarray]:
    """What a step leaves, for ``test_threads.py``."""
    rng = np.random.default_rng(1)
    return [np.asarray(a) for part in run(start(rng), [draw(rng)]) for a in part]


def test_order_of_terms(rng: np.random.Generator) -> None:
    before, steps = start(rng), [draw(rng) for _ in range(2)]
    found = run(before, steps)
    added = [[[sum(parts[1:], parts[0])] for parts in given] for given in steps]
    assert same_bits(found, run(before, added))
    assert not same_bits(found, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize(("variable", "part", "place"), [(0, 0, 0), (3, 1, 4618), (4, 0, 5000)])
def test_not_finite(
    rng: np.random.Generator, variable: int, part: int, place: int, value: float
) -> None:
    before, gradients = start(rng), draw(rng)
    with np.errstate(over="ignore"):
        gradients[variable][part].reshape(-1)[place] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match="not today"):
        run(before, [gradients], message="not today")
    assert same_bits(run.after, before)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_loss_not_finite(rng: np.random.Generator, loss: float) -> None:
    before = start(rng)
    with pytest.raises(tf.errors.InvalidArgumentError, match="bad"):
        run(before, [draw(rng)], loss=loss)
    assert same_bits(run.after, before)


def test_square_of_float32_too_large(rng: np.random.Generator) -> None:
    """It would make the second moment infinite."""
    before, gradients = start(rng), draw(rng)
    gradients[1][0][3] = 1e20
    with pytest.raises(tf.errors.InvalidArgumentError, match="bad"):
        run(before, [gradients])
    assert same_bits(run.after, before)


def test_wrong_shapes(rng: np.random.Generator) -> None:
    before, gradients = start(rng), draw(rng)
    wrong = [*gradients[:1], [gradients[1][0], gradients[1][1][:6]], *gradients[2:]]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"parts\[2\] has shape \[6\], expected \[7\]"
    ):
        run(before, [wrong])
    assert same_bits(run.after, before)
    second = [a[..., :-1] if a.shape == (7,) else a for a in before.second]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"second_moments\[1\].*\[6\],.*\[7\]"):
        run(before._replace(second=second), [gradients])
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="of the type of"):
        run(before, [[gradients[2], *gradients[1:2], gradients[1], *gradients[3:]]])
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"terms\[1\] = 3"):
        run(before, [[gradients[0], [*gradients[1], gradients[1][0]], *gradients[2:]]])


@pytest.mark.gpu("its kernels and memory")
def test_on_gpu(rng: np.random.Generator) -> None:
    """Variables stay there; the host only reads whether the step was done, in one number."""
    before, steps = start(rng), [draw(rng) for _ in range(2)]
    counts = paper_gpu.counts()
    found = run(before, steps)
    new = {key: n - counts.get(key, 0) for key, n in paper_gpu.counts().items()}
    for kernel in ("adam_check", "adam_step"):
        for dtype in ("float", "double"):
            assert new[f"adam {kernel} {dtype}"] == len(steps)
    assert new["adam adam_end float"] == new["copy_to_host"] == len(steps)
    assert same_bits(found, run(before, steps))


def sliced(state: State) -> State:
    """The last two variables, (31, 149) and (3, 4097), as two slices of one and as one slice."""
    return State(*([np.stack([p[3], p[3]]), p[4][None]] for p in state[:3]), state.powers)


def test_slices(rng: np.random.Generator) -> None:
    """Slices of a variable are as variables of their own; one may have two terms, another one."""
    before, (*_, g3, g4), (*_, other, _) = start(rng), draw(rng), draw(rng)
    found = run(sliced(before), [[g3, other[:1], g4]], slices=[2, 1])
    alone = State(*([p[3], p[3], p[4]] for p in before[:3]), before.powers)
    expected = run(alone, [[g3, other[:1], g4]])
    for part, wanted in zip(found[:3], expected[:3], strict=True):
        assert [a.tobytes() for a in (*part[0], *part[1])] == [a.tobytes() for a in wanted]


def test_wrong_slices(rng: np.random.Generator) -> None:
    before, (*_, g3, g4) = sliced(start(rng)), draw(rng)
    errors = (ValueError, tf.errors.InvalidArgumentError)
    for slices, gradients, message in (
        ([1, 1], [g3, g4], r"variables\[0\] has shape \[2,31,149\], expected 1 slices"),
        ([2, 1], [g3, g3, g3], r"parts\[4\] is not of the type of|parts\[4\] has shape"),
        ([2, 1], [g3, g4], r"parts\[2\] is not of the type of|terms has 2"),
        ([2], [g3, g3], r"slices has 1 numbers"),
        ([2, -1], [g3, g3, g4], r"slices\[1\] = -1"),
    ):
        with pytest.raises(errors, match=message):
            run(before, [gradients], slices=slices)
    assert same_bits(run.after, before)
