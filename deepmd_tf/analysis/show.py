# SPDX-License-Identifier: BSD-3-Clause
"""Contents of a model file: a summary, or single attributes."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepmd_tf.config.pairwise import MEMBERS as PAIRWISE_MEMBERS
from deepmd_tf.errors import InputError
from deepmd_tf.files import size_of_file
from deepmd_tf.graph.frozen import open_model, require_weights
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.graph.summary import observed_types, parameter_counts
from deepmd_tf.model.kinds import MODEL_KINDS

log = logging.getLogger(__name__)

DIALECTS = {
    "stock": "frozen, stock: runs in programs of DeePMD-kit and here",
    "native": "frozen, native: runs here, and in programs of DeePMD-kit with DP_PLUGIN_PATH",
    "checkpoint": "checkpoint; dp --tf freeze makes a file for other programs",
}


def show(model: str | os.PathLike[str], attributes: Sequence[str]) -> list[tuple[str, str]]:
    """Attributes of a model, also in the log, in the words of DeePMD-kit.

    Parameters
    ----------
    model
        Frozen graph, or checkpoint: its prefix or its directory.
    attributes
        Some of "type-map", "descriptor", "fitting-net", "size" and "observed-type". The parameters
        of descriptor and fitting net are those of the input script, with all defaults.

    Returns
    -------
    list
        (attribute, value); sections as JSON.

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
    found: list[tuple[str, str]] = []
    log.info("This is a singletask model")
    if "type-map" in attributes:
        log.info("The type_map is %s", list(saved.type_map))
        found.append(("type-map", " ".join(saved.type_map)))
    for name, words in (("descriptor", "descriptor"), ("fitting-net", "fitting_net")):
        if name in attributes:
            for where, section in _sections(saved.model_script, words):
                log.info("The %s parameter%s is %s", words, where, section)
                found.append((name + where, json.dumps(section)))
    if "size" in attributes:
        log.info("Parameter counts:")
        counts = parameter_counts(require_weights(saved))
        for part in sorted(counts):
            log.info("Parameters in %s: %s", part, f"{counts[part]:,}")
            found.append((f"weights, {part}", f"{counts[part]:,}"))
    if "observed-type" in attributes:
        observed = observed_types(require_weights(saved))
        log.info("The observed types for this model: ")
        log.info("Number of observed types: %d ", len(observed))
        log.info("Observed types: %s ", observed)
        found.append(("observed-type", " ".join(observed)))
    return found


def card(model: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """A summary of a model: (what, value), as far as the file says.

    Raises
    ------
    ModelFileError
        When the model cannot be read.
    """
    return list(_card(open_model(model)))


def _card(saved: SavedModel | ImportedModel) -> Iterator[tuple[str, str]]:
    path = saved.path
    if path.is_file():
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
        yield "file", f"{path}, {size_of_file(path)}, of {date}"
    else:
        yield "checkpoint", str(path)
    weights = isinstance(saved, SavedModel)
    compressed = "frozen, compressed: runs in programs of DeePMD-kit and here"
    yield "kind", DIALECTS[saved.dialect] if isinstance(saved, SavedModel) else compressed
    yield "model", MODEL_KINDS[saved.model_type].words
    yield "elements", " ".join(saved.type_map) or f"{saved.ntypes} types without names"
    if isinstance(saved, SavedModel):
        observed = observed_types(saved)
        if len(observed) < saved.ntypes:
            yield "in training data", " ".join(observed)
    if saved.script is not None:
        yield from _script(saved.script)
    else:
        yield "cutoff", f"{saved.rcut:g} Å"
    fparam, aparam = saved.parameter_inputs.dim_fparam, saved.parameter_inputs.dim_aparam
    if fparam or aparam:
        yield "parameters", f"{fparam} of a frame, {aparam} of each atom"
    if weights:
        yield "weights", f"{parameter_counts(require_weights(saved))['total']:,}"
    yield "numbers", f"{saved.interface_dtype} for coordinates, forces and virials"
    if saved.min_nbor_dist is not None:
        yield "smallest distance", f"{saved.min_nbor_dist:.4f} Å in the training data"


def _script(script: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the input script says; sections other than ``model`` may be of any kind."""
    model = script["model"]
    for i, member in enumerate(model.get("models", ())):
        yield f"models[{i}]", f"{member.get('type', 'standard')}, weight {_weight(model, i)}"
        yield from _nets(member)
    for name in _pair(model):
        yield name, "standard"
        yield from _nets(model[name])
    if "models" not in model and not _pair(model):
        yield from _nets(model)
    training = script.get("training")
    steps = training.get("numb_steps") if isinstance(training, Mapping) else None
    if steps:
        yield "trained for", f"{steps:,} steps, as its input script says"


def _nets(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Descriptors and fitting net of a model by itself or of one of several."""
    descriptor = model.get("descriptor", {})
    if model.get("type") == "pairtab":
        descriptor = model
    for one in descriptor.get("list", [descriptor]):
        words = [str(one.get("type", "se_e2_a"))]
        words += [f"cutoff {one['rcut']:g} Å"] if isinstance(one.get("rcut"), int | float) else []
        words += [f"{key} {one[key]}" for key in ("sel", "neuron") if key in one]
        yield "table" if descriptor is model else "descriptor", ", ".join(words)
    if descriptor is not model:
        yield "fitting net", f"neuron {model.get('fitting_net', {}).get('neuron')}"


def _weight(model: Mapping[str, Any], i: int) -> Any:
    weights = model["weights"]
    return weights[i] if isinstance(weights, list) else f'"{weights}"'


def _sections(model: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """A section of a model, or those of each of several with the place in words."""
    if key in model:
        yield "", model[key]
    for name in _pair(model):
        yield f" of {name}", model[name][key]
    for i, member in enumerate(model.get("models", ())):
        yield f" of models[{i}], weight {_weight(model, i)},", member.get(key, member)


def _pair(model: Mapping[str, Any]) -> list[str]:
    """Keys of the two models of ``pairwise_dprc``."""
    return [name for name in PAIRWISE_MEMBERS if name in model]
