# SPDX-License-Identifier: BSD-3-Clause
"""Contents of a model file, as messages."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

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
        log.info("The descriptor parameter is %s", saved.model_script["descriptor"])
    if "fitting-net" in attributes:
        log.info("The fitting_net parameter is %s", saved.model_script["fitting_net"])
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
