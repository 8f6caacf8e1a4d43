# SPDX-License-Identifier: BSD-3-Clause
"""The input script as a tree of arguments, and that tree as reStructuredText.

The tree has the form in which DeePMD-kit prints its own, which graphical editors read: an argument
has sub-fields, and variants that the key ``type`` chooses from.
"""

from __future__ import annotations

import json
import textwrap
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from deepmd_tf.config.root import Config
from deepmd_tf.config.section import (
    Section,
    about,
    allowed,
    item_kinds,
    type_name,
    type_names,
    variants,
)

TYPE_DOC = "Chooses which keys there are."


def arguments() -> list[dict[str, Any]]:
    """The sections of the input script, each with all that is in it."""
    return [_argument(name, field) for name, field in Config.model_fields.items()]


def _argument(name: str, field: FieldInfo) -> dict[str, Any]:
    marks = about(field)
    doc = field.description or ""
    if marks["later"]:
        doc = f"Not available yet, only the default is accepted. {doc}"
    items = item_kinds(field.annotation)
    classes = variants(field.annotation) or items
    argument = {
        "object": "Argument",
        "name": name,
        "type": _types(field.annotation),
        "optional": not field.is_required(),
        "alias": marks["aliases"],
        "doc": doc if classes else f"{doc} Expected: {allowed(field)}.",
        "repeat": bool(items),
        **_inside(classes),
    }
    if not field.is_required() and not classes:
        argument["default"] = field.get_default(call_default_factory=True)
    return argument


def _inside(classes: list[type[Section]]) -> dict[str, Any]:
    """Sub-fields and variants of a block."""
    if not classes:
        return {"sub_fields": {}, "sub_variants": {}}
    chosen = {str(type_name(cls)): _fields(cls) for cls in classes}
    alone = len(classes) == 1
    if alone and type_name(classes[0]) is None:
        return {"sub_fields": _fields(classes[0]), "sub_variants": {}}
    spelled = {
        alias: type_name(cls) for cls in classes for alias in type_names(cls) if alias not in chosen
    }
    variant = {
        "object": "Variant",
        "flag_name": "type",
        "optional": not classes[0].model_fields["type"].is_required(),
        "default_tag": type_name(classes[0]),
        "choice_dict": {
            name: _choice(name, cls, {} if alone else chosen[name])
            for name, cls in zip(chosen, classes, strict=True)
        },
        "choice_alias": spelled,
        "doc": TYPE_DOC,
    }
    fields = next(iter(chosen.values())) if alone else {}
    return {"sub_fields": fields, "sub_variants": {"type": variant}}


def _choice(name: str, cls: type[Section], fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": "Argument",
        "name": name,
        "type": ["dict"],
        "optional": False,
        "alias": [],
        "doc": " ".join((cls.__doc__ or "").split()),
        "repeat": False,
        "sub_fields": fields,
        "sub_variants": {},
    }


def _fields(cls: type[Section]) -> dict[str, Any]:
    return {n: _argument(n, f) for n, f in cls.model_fields.items() if n != "type"}


def _types(annotation: Any) -> list[str]:
    """Names of the Python types that a value may have."""
    if get_origin(annotation) is Annotated:
        return _types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return list(dict.fromkeys(name for arm in get_args(annotation) for name in _types(arm)))
    if get_origin(annotation) is Literal:
        return list(dict.fromkeys(type(value).__name__ for value in get_args(annotation)))
    if get_origin(annotation) is not None:
        return [get_origin(annotation).__name__]
    return ["dict" if issubclass(annotation, Section) else annotation.__name__]


def rst() -> str:
    """The whole tree as reStructuredText, with an anchor for every key."""
    return "\n".join(line for argument in arguments() for line in _text(argument, ""))


def _text(argument: dict[str, Any], path: str) -> Iterator[str]:
    name = argument["name"]
    path = f"{path}/{name}" if path else name
    kind = " | ".join(f"``{t}``" for t in argument["type"])
    facts = f"type: {kind}" + (", optional" if argument["optional"] else "")
    if "default" in argument:
        facts += f", default: ``{json.dumps(argument['default'])}``"
    if argument["alias"]:
        facts += f", alias{'es' * (len(argument['alias']) > 1)}: "
        facts += ", ".join(f"*{alias}*" for alias in argument["alias"])
    yield from (f".. _`{path}`:", "", f"{name}:")
    yield from _indented([f"| {facts}", f"| argument path: ``{path}``", "", argument["doc"], ""])
    for field in argument["sub_fields"].values():
        yield from _indented(_text(field, path))
    for variant in argument["sub_variants"].values():
        yield from _indented(_choices(variant, path))


def _choices(variant: dict[str, Any], path: str) -> Iterator[str]:
    flag, choices = variant["flag_name"], variant["choice_dict"]
    known = ", ".join(f"``{name}``" for name in [*choices, *variant["choice_alias"]])
    optional = f", default: ``{variant['default_tag']}``" if variant["optional"] else ""
    yield from (f".. _`{path}/{flag}`:", "", f"{flag}:")
    facts = [f"| type: ``str`` (flag key){optional}", f"| argument path: ``{path}/{flag}``"]
    yield from _indented([*facts, f"| possible choices: {known}", "", variant["doc"], ""])
    for name, choice in choices.items():
        yield from (f"When *{flag}* is set to ``{name}``:", "", choice["doc"], "")
        for field in choice["sub_fields"].values():
            yield from _text(field, f"{path}[{name}]")


def _indented(lines: list[str] | Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield textwrap.indent(line, "    ")
