# SPDX-License-Identifier: BSD-3-Clause
"""JSON schema of the input script, by which editors complete and check it."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from deepmd_tf.config.root import Config
from deepmd_tf.config.section import (
    ABSENT,
    LATER,
    Section,
    about,
    allowed,
    item_kinds,
    type_name,
    type_names,
    variants,
)
from deepmd_tf.config.values import Choices

DRAFT = "https://json-schema.org/draft/2020-12/schema"
BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}
SIMPLE = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def json_schema() -> dict[str, Any]:
    """Schema (draft 2020-12) of an input script in the present layout.

    It knows every accepted spelling of a key, comments (keys that begin with ``_``), and keys of
    DeePMD-kit that have no effect. What depends on more than one key is not in it.
    """
    return {
        "$schema": DRAFT,
        "title": "Input script of deepmd_tf",
        **_block(Config),
    }


def _block(cls: type[Section]) -> dict[str, Any]:
    """Schema of one section."""
    properties: dict[str, Any] = {}
    needed = []
    for name, field in cls.model_fields.items():
        spellings = [name, *about(field)["aliases"]]
        properties |= dict.fromkeys(spellings, _option(cls, name))
        if field.is_required():
            needed.append(
                {"required": spellings}
                if len(spellings) == 1
                else {"anyOf": [{"required": [spelling]} for spelling in spellings]}
            )
    for key, foreign in cls.ignored.items():
        properties[key] = {"description": f"Has no effect: {foreign.why}.", "deprecated": True}
    for key, foreign in cls.refused.items():
        if foreign.default is not ABSENT:
            properties[key] = {
                "description": f"Only the default: {foreign.why}.",
                "const": foreign.default,
                "deprecated": True,
            }
    schema = {
        "description": (cls.__doc__ or "").strip(),
        "type": "object",
        "properties": properties,
        "patternProperties": {"^_": {"description": "A comment."}},
        "additionalProperties": False,
    }
    return schema | ({"allOf": needed} if needed else {})


def _option(cls: type[Section], name: str) -> dict[str, Any]:
    """Schema of one option."""
    field = cls.model_fields[name]
    if classes := variants(field.annotation):
        arms = _blocks(classes) + [{"type": "null"}] * (type(None) in get_args(field.annotation))
        return {**_one_of(arms), "description": field.description}
    if items := item_kinds(field.annotation):
        lengths = _lengths(field.metadata, "Items")
        array = {"type": "array", "items": _one_of(_blocks(items)), **lengths}
        return {**array, "description": field.description}
    description = f"{field.description} Expected: {allowed(field)}."
    if name == "type" and type_name(cls) is not None:
        schema = {"enum": type_names(cls)}
    elif about(field)["later"]:
        schema = {"const": field.get_default(call_default_factory=True)}
        description = f"{field.description} {LATER.capitalize()}, only the default is accepted."
    else:
        schema = _value(field.annotation, field.metadata)
    if not field.is_required():
        schema["default"] = field.get_default(call_default_factory=True)
    return {"description": description, **schema}


def _blocks(classes: list[type[Section]]) -> list[dict[str, Any]]:
    """Schemas of the kinds of a block."""
    blocks = [_block(inner) for inner in classes]
    for block, inner in zip(blocks[1:], classes[1:], strict=True):
        # without a type it is the first of them
        assert type_name(inner) is not None
        block["required"] = ["type"]
    return blocks


def _one_of(arms: list[dict[str, Any]]) -> dict[str, Any]:
    return arms[0] if len(arms) == 1 else {"oneOf": arms}


def _value(annotation: Any, metadata: Sequence[Any] = ()) -> dict[str, Any]:
    """Schema of an ordinary value, from its type and constraints."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _value(inner, [*metadata, *more])
    choices = next((mark for mark in metadata if isinstance(mark, Choices)), None)
    if choices is not None:
        known = {"enum": list(choices.names)}
        return known if choices.closed else {"anyOf": [known, {"type": "string"}]}
    if get_origin(annotation) in (Union, types.UnionType):
        return {"anyOf": [_value(arm, metadata) for arm in get_args(annotation)]}
    if get_origin(annotation) is Literal:
        return {"enum": list(get_args(annotation))}
    if get_origin(annotation) is list:
        (item,) = get_args(annotation)
        return {"type": "array", "items": _value(item), **_lengths(metadata, "Items")}
    schema = {"type": SIMPLE[annotation]}
    if annotation is str:
        return schema | _lengths(metadata, "Length")
    if annotation in (int, float):
        for mark in metadata:
            for name, keyword in BOUNDS.items():
                if getattr(mark, name, None) is not None:
                    schema[keyword] = getattr(mark, name)
    return schema


def _lengths(metadata: Sequence[Any], unit: str) -> dict[str, int]:
    bounds = {}
    for mark in metadata:
        if getattr(mark, "min_length", 0):
            bounds[f"min{unit}"] = mark.min_length
        if getattr(mark, "max_length", None) is not None:
            bounds[f"max{unit}"] = mark.max_length
    return bounds
