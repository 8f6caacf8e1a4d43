# SPDX-License-Identifier: BSD-3-Clause
"""Opens a model with the class that evaluates its kind."""

from __future__ import annotations

import os
from typing import Any

from deepmd_tf.graph.frozen import open_model
from deepmd_tf.inference.deep_dos import DeepDOS
from deepmd_tf.inference.deep_eval import DeepEval
from deepmd_tf.inference.deep_pot import DeepPot
from deepmd_tf.inference.deep_tensor import DeepDipole, DeepPolar
from deepmd_tf.model.kinds import MODEL_KINDS

EVALUATORS: tuple[type[DeepEval], ...] = (DeepPot, DeepDipole, DeepPolar, DeepDOS)
"""One for each ``evaluator`` of :data:`deepmd_tf.model.kinds.MODEL_KINDS`."""


def open_evaluator(model_file: str | os.PathLike[str], *arguments: Any, **options: Any) -> DeepEval:
    """A model of any kind; arguments and errors are those of
    :class:`~deepmd_tf.inference.deep_eval.DeepEval`.
    """
    model = open_model(model_file)
    kind = MODEL_KINDS[model.model_type]
    evaluator = next(one for one in EVALUATORS if one.kind.evaluator == kind.evaluator)
    return evaluator(model, *arguments, **options)
