# SPDX-License-Identifier: BSD-3-Clause
"""Contents of a model file, as messages."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from deepmd_tf.errors import InputError
from deepmd_tf.graph.frozen import open_model, require_weights
from deepmd_tf.graph.summary import observed_types, parameter_counts

log = logging.getLogger(__name__)


def show(model: str | os.PathLike[str], attributes: Sequence[str]) -> None:
    """Report attributes of a model to the log.

    Parameters
    ----------
    model
        Frozen graph, or checkpoint: its prefix or its directory.
    attributes
        Some of "type-map", "descriptor", "fitting-net", "size" and "observed-type". The parameters
        of descriptor and fitting net are those of the input script, with all defaults.

    Raises
    ------
    InputError
        For "model-branch", which multi-task models have.
    ModelFileError
        When the model cannot be read, or does not hold what is asked for: a compressed model has
        no weights that could be counted.
    """
    if "model-branch" in attributes:
        raise InputError(
            f"{model}: model-branch is an attribute of multi-task models, which do not exist with "
            "TensorFlow; leave it out"
        )
    saved = open_model(model)
    log.info("This is a singletask model")
    if "type-map" in attributes:
        log.info("The type_map is %s", list(saved.type_map))
    if "descriptor" in attributes:
        _show_section("descriptor", saved.model_script)
    if "fitting-net" in attributes:
        _show_section("fitting_net", saved.model_script)
    if "size" in attributes:
        log.info("Parameter counts:")
        counts = parameter_counts(require_weights(saved))
        for part in sorted(counts):
            log.info("Parameters in %s: %s", part, f"{counts[part]:,}")
    if "observed-type" in attributes:
        observed = observed_types(require_weights(saved))
        log.info("The observed types for this model: ")
        log.info("Number of observed types: %d ", len(observed))
        log.info("Observed types: %s ", observed)


def _show_section(key: str, script: dict[str, Any]) -> None:
    """The section of a model, or those of each of several."""
    if "models" not in script:
        log.info("The %s parameter is %s", key, script[key])
        return
    for i, (model, factor) in enumerate(zip(script["models"], _factors(script), strict=True)):
        if key in model:
            log.info("The %s parameter of models[%d], weight %s, is %s", key, i, factor, model[key])
        else:
            log.info("models[%d], weight %s, is a table of pair potentials: %s", i, factor, model)


def _factors(script: dict[str, Any]) -> Sequence[Any]:
    weights = script["weights"]
    return weights if isinstance(weights, list) else [weights] * len(script["models"])
