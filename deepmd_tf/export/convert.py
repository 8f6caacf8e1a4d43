# SPDX-License-Identifier: BSD-3-Clause
"""Frozen files of older versions of DeePMD-kit in the present form; graphs as text and back."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import tensorflow.compat.v1 as tf
from google.protobuf import text_format

from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.files import read_text, replacing, require_writable
from deepmd_tf.graph import upgrade
from deepmd_tf.graph.frozen import open_graph, read_graph, write_graph
from deepmd_tf.graph.imported import check_graph, plain_graph
from deepmd_tf.model.kinds import MODEL_KINDS

log = logging.getLogger(__name__)

_LARGEST_TEXT = 1 << 33
"""A graph in bytes has 2 GiB at most."""
TEXT_SUFFIX = ".pbtxt"
AUTO, AS_TEXT = "auto", "pbtxt"
SOURCES = (AUTO, *upgrade.VERSIONS[:-1], AS_TEXT)
"""Versions that :func:`convert` converts from."""


def convert(
    source: str, input_model: str | os.PathLike[str], output_model: str | os.PathLike[str]
) -> None:
    """Write a frozen file of an older version in the present form, or one form of a file in the
    other.

    Nothing in a file is executed. A converted graph is checked: it holds known operations only, and
    is a complete model.

    Parameters
    ----------
    source
        The version that wrote the file, "auto" to see it in the file, or "pbtxt": only from text to
        binary.
    input_model
        Frozen file; text if its name ends in ``.pbtxt``.
    output_model
        Where to write. If its name ends in ``.pbtxt``, the graph is written as text and not
        converted.

    Raises
    ------
    InputError
        For an unknown version, for two files of the same form where the form is to be changed, and
        when the file cannot be written.
    ModelFileError
        When the file cannot be read, is no model that this package knows, or is incomplete.
    """
    if source not in SOURCES:
        raise InputError(f'version "{source}" is unknown; known are {", ".join(SOURCES)}')
    input_model, output_model = Path(input_model), require_writable(output_model)
    from_text, to_text = (p.suffix == TEXT_SUFFIX for p in (input_model, output_model))
    if from_text and to_text:
        raise InputError(f"{input_model}: is text already; name the output without {TEXT_SUFFIX}")
    if source == AS_TEXT and not (from_text or to_text):
        raise InputError(
            f'{input_model}: "{AS_TEXT}" reads or writes text; one name ends in {TEXT_SUFFIX}'
        )
    graph = _read_text(input_model) if from_text else read_graph(input_model)
    if to_text:
        with replacing(output_model) as part:
            part.write_text(text_format.MessageToString(graph), encoding="utf-8")
        log.info("the graph is saved as text in %s", output_model)
        return
    if source != AS_TEXT:
        graph = _to_present(source, input_model, graph)
    write_graph(graph, output_model)
    log.info("the converted model is saved in %s", output_model)


def _read_text(path: Path) -> tf.GraphDef:
    graph = tf.GraphDef()
    try:
        with warnings.catch_warnings():
            # the reader evaluates escapes of texts as Python does, which remarks on unknown ones
            warnings.simplefilter("ignore", DeprecationWarning)
            text_format.Parse(read_text(path, ModelFileError, largest=_LARGEST_TEXT), graph)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: not found") from None
    except (text_format.ParseError, RecursionError) as error:
        raise ModelFileError(f"{path}: not a TensorFlow graph as text ({error})") from None
    if not graph.node:
        raise ModelFileError(f"{path}: not a model: the file holds no graph")
    return graph


def _to_present(source: str, path: Path, graph: tf.GraphDef) -> tf.GraphDef:
    found = upgrade.detect(graph)
    if found is None:
        raise ModelFileError(
            f"{path}: not a model of DeePMD-kit with the descriptor se_e2_a; only those are "
            "converted"
        )
    if found == upgrade.PRESENT:
        log.info("%s has the present form already", path)
    else:
        log.info("%s has the form of version %s", path, found)
    # the forms of 1.1 and 1.2 are the same
    if source not in (AUTO, found) and (source, found) != ("1.1", "1.2"):
        log.warning("%s: converted from the form of %s, not of %s", path, found, source)
    result = upgrade.upgrade(graph)
    kind = MODEL_KINDS[open_graph(path, result).model_type]
    check_graph(path, plain_graph(result), kind)
    return result
