# SPDX-License-Identifier: BSD-3-Clause
"""What is said of a key of the input script: default, range, unit, meaning; why it is refused."""

from __future__ import annotations

import copy
import difflib
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deepmd_tf.config.values import choices, expected

LATER = "not available yet in this version"
ELSEWHERE = "part of other backends of DeePMD-kit only"

ABSENT = object()
"""Default of a key that means nothing by itself: giving it at all asks for the feature."""


class Foreign(NamedTuple):
    """A key of DeePMD-kit that is not an option here.

    Attributes
    ----------
    default
        The value that changes nothing, or ``ABSENT``.
    why
        What the key is, for the message.
    """

    default: Any
    why: str


def option(
    default: Any = PydanticUndefined,
    *,
    doc: str,
    unit: str = "",
    aliases: tuple[str, ...] = (),
    later: bool = False,
    omit_none: bool = False,
    stored: bool = True,
    ours: bool = False,
    **constraints: Any,
) -> Any:
    """One option of a section.

    Parameters
    ----------
    default
        Value when the key is not given; without it the key is required.
    doc
        Meaning, for the reference page.
    unit
        Physical unit.
    aliases
        Other accepted spellings of the key.
    later
        The feature is part of the schema but cannot be used yet: only the default is accepted.
    omit_none
        Leave the key out of the normalised input when it is None.
    stored
        Part of the script in model files. False for what says how a model is trained and may be
        unknown to programs of DeePMD-kit, which check that script strictly.
    ours
        DeePMD-kit has no such key: it is left out of the normalised input while it holds its
        default, so that DeePMD-kit reads that input.
    constraints
        ``gt``, ``ge``, ``lt``, ``le``, ``min_length``, ``max_length``.
    """
    extra: dict[str, Any] = {
        "unit": unit,
        "aliases": list(aliases),
        "later": later,
        "omit_none": omit_none,
        "stored": stored,
        "ours": ours,
    }
    if isinstance(default, (list, BaseModel)):
        return Field(
            default_factory=lambda: copy.deepcopy(default),
            description=doc,
            json_schema_extra=extra,
            **constraints,
        )
    return Field(default, description=doc, json_schema_extra=extra, **constraints)


def about(field: FieldInfo) -> dict[str, Any]:
    """Unit, aliases and marks of an option, as given to :func:`option`."""
    return field.json_schema_extra  # type: ignore[return-value]


def allowed(field: FieldInfo) -> str:
    """Permitted values of an option, with its unit."""
    return expected(field.annotation, field.metadata, about(field)["unit"])


def nearest(value: Any, names: list[str]) -> str:
    """A suggestion of the name that was probably meant, or ""."""
    near = difflib.get_close_matches(str(value), names, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def nearest_choice(value: Any, field: FieldInfo) -> str:
    """Suggestions for a misspelt word, where there is a list of words."""
    return nearest(value, list(choices(field.annotation, field.metadata))) if value else ""
