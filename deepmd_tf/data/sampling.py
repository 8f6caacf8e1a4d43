# SPDX-License-Identifier: BSD-3-Clause
"""Random generator of the data, and how likely each system is to give the next batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepmd_tf.config.probability import SystemProbability, check_sys_probs
from deepmd_tf.errors import DataError, InputError


def make_random(seed: int | None) -> np.random.RandomState:
    """The generator that all data of a run share; a seed gives the order that DeePMD-kit draws.

    Parameters
    ----------
    seed
        ``training.seed``; None takes one from the operating system.
    """
    if seed is None:
        return np.random.RandomState()
    # 0: the rank of the process, of which DeePMD-kit makes the order
    return np.random.RandomState([0, seed % 2**32])


def random_state(rng: np.random.RandomState) -> dict[str, Any]:
    """The state of `rng` in types that JSON knows."""
    state = rng.get_state(legacy=False)
    return {
        "bit_generator": state["bit_generator"],
        "key": state["state"]["key"].tolist(),
        "pos": int(state["state"]["pos"]),
        "has_gauss": int(state["has_gauss"]),
        "gauss": float(state["gauss"]),
    }


def restore_random(rng: np.random.RandomState, state: dict[str, Any]) -> None:
    """Put `rng` into the state that :func:`random_state` returned.

    Raises
    ------
    DataError
        If that is not such a state.
    """
    try:
        key = np.asarray(state["key"], dtype=np.uint32)
        rng.set_state(
            (state["bit_generator"], key, state["pos"], state["has_gauss"], state["gauss"])
        )
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"saved state of the random generator cannot be used: {error}") from error


def system_probabilities(
    n_batches: Sequence[int],
    auto_prob: SystemProbability,
    sys_probs: Sequence[float] | None = None,
) -> np.ndarray:
    """Probability of each system, float64 [n_systems], sum 1.

    Parameters
    ----------
    n_batches
        Batches in one pass over each system.
    auto_prob
        Rule that gives all probabilities.
    sys_probs
        If given, the probabilities themselves, and `auto_prob` is not used. Negative entries share
        what the others leave of 1, in proportion to `n_batches`.

    Raises
    ------
    InputError
        If there are fewer or more entries or systems than the other side says, or the entries
        cannot add up to 1.
    """
    batches = np.asarray(n_batches, dtype=np.float64)
    if sys_probs is not None:
        return _given(batches, list(sys_probs))
    if auto_prob.rule == "uniform":
        return np.full(len(batches), 1.0 / len(batches))
    if not auto_prob.blocks:
        return batches / np.sum(batches)
    total = np.sum([block.weight for block in auto_prob.blocks])
    probabilities = np.zeros(len(batches))
    for first, end, weight in auto_prob.blocks:
        if end > len(batches):
            raise InputError(
                f"auto_prob: the block {first}:{end} ends beyond the last of the "
                f"{len(batches)} systems, which are counted from 0"
            )
        part = batches[first:end]
        probabilities[first:end] = part / np.sum(part) * (weight / total)
    return probabilities


def _given(batches: np.ndarray, sys_probs: list[float]) -> np.ndarray:
    if len(sys_probs) != len(batches):
        raise InputError(
            f"sys_probs: has {len(sys_probs)} entries, expected one for each of the "
            f"{len(batches)} systems"
        )
    try:
        check_sys_probs(sys_probs)
    except ValueError as error:
        raise InputError(f"sys_probs: {error}") from error
    values = np.asarray(sys_probs, dtype=np.float64)
    assigned = values >= 0
    if assigned.all():
        return values
    others = ~assigned * batches
    # Products and quotients in the order of DeePMD-kit: the same bits give the same draws.
    rest = 1.0 - np.sum(assigned * values)
    return rest * others / np.sum(others) + assigned * values
