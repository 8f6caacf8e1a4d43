# SPDX-License-Identifier: BSD-3-Clause
"""How Hessians are trained on: which mode, along which directions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.config import Config, HessianMode, LossEner
from deepmd_tf.data import DataSystems
from deepmd_tf.data.sampling import random_state, restore_random
from deepmd_tf.descriptors import Descriptor, make_descriptor
from deepmd_tf.errors import InputError
from deepmd_tf.fields import HESSIAN
from deepmd_tf.model.hessian import require_second_order
from deepmd_tf.training.blocks import fits_at_once

log = logging.getLogger(__name__)

AUTO_ATOMS = 32
"""``hessian_mode`` "auto" takes whole matrices of systems up to this size, if the descriptor has
second derivatives of its own; the time that they take, compared with energies and forces, grows as
the number of atoms."""


@dataclass(frozen=True)
class HessianPlan:
    """How Hessians are trained on.

    Attributes
    ----------
    mode
        Not ``auto``.
    everywhere
        Whether all sets of the training data have Hessians.
    in_blocks
        Whether there are batches whose whole Hessians are too large to be trained on at once.
    """

    mode: HessianMode
    everywhere: bool
    in_blocks: bool = False

    @property
    def copies(self) -> int:
        """How often a step evaluates the embedding at the pairs of a frame."""
        if self.mode.rule == "full":
            # at x, y and z of each pair
            return 4
        return 1 + (self.mode.count if self.mode.count > 1 else 0)


def require_hessian_mode(config: Config) -> None:
    """Check, before data are read, that the model has what ``loss/hessian_mode`` asks for.

    Raises
    ------
    InputError
        If it is "full", and the descriptor has no second derivatives of its own; or the descriptor
        cannot be trained on Hessians at all.
    """
    for descriptor in _descriptors(config):
        if not descriptor.trains_on_hessians:
            raise InputError(
                f'loss.start_pref_h: the descriptor "{descriptor.config.type}" with layers of '
                "attention cannot be trained on Hessians, since attention has no third "
                "derivatives; take attn_layer 0"
            )
        if cast(LossEner, config.loss).hessian_mode == "full":
            require_second_order(descriptor)
            if config.model.fragmented:
                raise InputError(
                    f'a model "{config.model.type}" has no second derivatives of its own, which '
                    'whole Hessians need; train with loss/hessian_mode "probe:<k>" or "columns:<k>"'
                )


def plan_hessians(config: Config, data: DataSystems) -> HessianPlan:
    """Choose the mode for the training data, after :func:`require_hessian_mode`."""
    loss = cast(LossEner, config.loss)
    mode = HessianMode.parse(loss.hessian_mode)
    sizes = [
        (size, system.natoms)
        for system, size in zip(data.systems, data.batch_sizes, strict=True)
        if any(system.has(HESSIAN.name))
    ]
    everywhere = all(all(system.has(HESSIAN.name)) for system in data.systems)
    natoms = max(number for _, number in sizes)
    if mode.rule == "auto":
        squares = loss.loss_func == "mse" and not loss.use_huber
        small = natoms <= AUTO_ATOMS and _has_second_order(config)
        mode = HessianMode("full") if small else HessianMode("probe" if squares else "columns", 1)
        log.info("hessian_mode is %s (auto; systems with Hessians: up to %d atoms)", mode, natoms)
    in_blocks = mode.rule == "full" and not all(fits_at_once(*size) for size in sizes)
    if in_blocks:
        log.info(
            "Hessians are built frame by frame, and of large frames some atoms at a time: all at "
            "once they would need too much memory"
        )
    return HessianPlan(mode, everywhere, in_blocks)


def _descriptors(config: Config) -> Iterator[Descriptor]:
    """With stand-ins for what only the data can tell, on which second derivatives do not depend."""
    ntypes = config.model.ntypes or 1
    for member in config.model.nets:
        section = member.config.descriptor
        yield make_descriptor(section.with_sel(section.stand_in(ntypes)), ntypes)


def _has_second_order(config: Config) -> bool:
    found = all(descriptor.second_order() for descriptor in _descriptors(config))
    return found and not config.model.fragmented


class Directions:
    """Random directions of length 1, from a generator of their own.

    Parameters
    ----------
    mode
        ``probe``: vectors of ±(3N)^(−1/2); ``columns``: unit vectors, different in a frame.
    seed
        ``training.seed``; None takes one from the operating system.
    placeholder
        [n_frames, k, 3N], where they are fed.
    """

    def __init__(
        self, mode: HessianMode, seed: int | None, placeholder: tf.Tensor | None = None
    ) -> None:
        self.mode = mode
        self.placeholder = placeholder
        # not the numbers that the order of the data is made of
        key = None if seed is None else [*b"hessian", seed % 2**32]
        self._rng = np.random.RandomState(key)

    @classmethod
    def build(cls, mode: HessianMode, seed: int | None, dtype: tf.DType) -> Directions:
        """Add the placeholder."""
        return cls(mode, seed, tf.placeholder(dtype, [None, None, None], name="t_directions"))

    def draw(self, n_frames: int, natoms: int) -> np.ndarray:
        """Directions for the frames of a batch: float64 [n_frames, k, 3N]."""
        size = 3 * natoms
        if self.mode.rule == "probe":
            signs = 2 * self._rng.randint(0, 2, size=(n_frames, self.mode.count, size)) - 1
            return signs / np.sqrt(size)
        count = min(self.mode.count, size)
        chosen = [self._rng.permutation(size)[:count] for _ in range(n_frames)]
        return np.eye(size)[np.array(chosen)]

    def get_state(self) -> dict[str, Any]:
        """For the state of a checkpoint."""
        return random_state(self._rng)

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` returned."""
        restore_random(self._rng, state)
