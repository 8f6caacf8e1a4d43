# SPDX-License-Identifier: BSD-3-Clause
"""The losses that there are, by the ``type`` of their section in the input script."""

from __future__ import annotations

from typing import TypeVar

from deepmd_tf.config import LossConfig, ModelConfig
from deepmd_tf.config.section import kind_name
from deepmd_tf.losses.loss import TermLoss

LOSSES: dict[str, type[TermLoss]] = {}

L = TypeVar("L", bound=TermLoss)


def register(loss: type[L]) -> type[L]:
    """Add a loss, a subclass of :class:`TermLoss` with its section as ``config_class``, of which it
    is made. Usable as a decorator.
    """
    LOSSES[kind_name(LossConfig.register(loss.config_class))] = loss
    return loss


def make_loss(config: LossConfig, model: ModelConfig | None = None) -> TermLoss:
    """The loss of an input script.

    Parameters
    ----------
    config
        Its section ``loss``.
    model
        Its section ``model``, which some losses need.

    Raises
    ------
    InputError
        If no term has a prefactor.
    """
    return LOSSES[config.type].of(config, model)
