# SPDX-License-Identifier: BSD-3-Clause
"""Types of single values, each with the words that tell a user what is allowed."""

from __future__ import annotations

import math
import os
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import AfterValidator, BeforeValidator, PlainValidator, Strict, ValidationInfo


class Words:
    """Marks a type with the phrase that follows "expected" in a message."""

    def __init__(self, text: str) -> None:
        self.text = text


class Choices:
    """Marks a text with the words it may be: ``closed`` if nothing else is possible."""

    def __init__(self, *names: str, closed: bool) -> None:
        self.names = names
        self.closed = closed


LARGEST = 10**18
MOST_NEIGHBORS = 100_000


def _whole(value: Any) -> Any:
    """1e6 is written for 1000000 and means it; what does not fit into 64 bits helps nobody."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int and abs(value) > LARGEST:
        raise ValueError("has too many digits")
    return value


def _name(value: str) -> str:
    """Names of files: what cannot be typed is there by mistake."""
    if not value.strip():
        raise ValueError
    if not value.isprintable():
        raise ValueError("has a character that cannot be printed")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise ValueError(
            "has a character that names of files cannot have in this locale; set the environment "
            "variable PYTHONUTF8=1, or LC_ALL to one with UTF-8 such as C.UTF-8"
        ) from None
    return value


Int = Annotated[int, Strict(), BeforeValidator(_whole)]
Number = Annotated[float, Strict()]
Bool = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), annotated_types.MinLen(1), AfterValidator(_name)]
Width = Annotated[Int, annotated_types.Ge(1), annotated_types.Le(100_000)]
Layers = Annotated[list[Width], annotated_types.MinLen(1)]
HiddenLayers = list[Width]

ACTIVATIONS = (
    "none",
    "linear",
    "relu",
    "relu6",
    "softplus",
    "sigmoid",
    "tanh",
    "gelu",
    "gelu_tf",
    "silu",
    "silut",
)
"""Names of activation functions; ``silut`` may carry a threshold, ``silut:10.0``."""


def _activation(value: str) -> str:
    name, colon, threshold = value.lower().partition(":")
    if name not in ACTIVATIONS or (colon and name != "silut"):
        raise ValueError
    if colon and not math.isfinite(_number(threshold, "the threshold of silut, as in silut:10.0")):
        raise ValueError("the threshold of silut must be a finite number, as in silut:10.0")
    return value.lower()


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'{what}, must be a number, not "{text}"') from None


def _precision(value: str) -> str:
    if value in ("float16", "bfloat16"):
        raise ValueError(
            "16-bit networks are not available: forces and virials would lose most of their "
            "digits; "
            'use "float32" where speed matters'
        )
    if value not in ("default", "float32", "float64"):
        raise ValueError
    return value


def _sel(value: Any, info: ValidationInfo) -> list[int] | str:
    if isinstance(value, str):
        word, colon, factor = value.partition(":")
        if word != "auto":
            raise ValueError
        if colon and not 0 < _number(factor, "the factor, as in auto:1.1") < math.inf:
            raise ValueError("the factor must be larger than 0, as in auto:1.1")
        return value
    if not isinstance(value, list):
        raise ValueError
    counts = [_whole(n) for n in value]
    if not counts or any(type(n) is not int or n < 0 for n in counts):
        raise ValueError
    if max(counts) > MOST_NEIGHBORS:
        raise ValueError(f"{max(counts)} neighbours; expected at most {MOST_NEIGHBORS} of a type")
    if sum(counts) == 0:
        raise ValueError("at least one type must have neighbours")
    return one_per_type(counts, info)


def one_per_type(value: Any, info: ValidationInfo) -> Any:
    """Checks a list with an entry for each type of atoms."""
    ntypes = (info.context or {}).get("ntypes")  # absent where a section is built on its own
    if isinstance(value, list) and ntypes is not None and len(value) != ntypes:
        raise ValueError(
            f"has length {len(value)}, but there are {ntypes} types; one entry per type is needed"
        )
    return value


def _total_sel(value: Any, info: ValidationInfo) -> list[int] | str:
    if isinstance(value, str):
        return _sel(value, info)
    counts = [_whole(n) for n in (value if isinstance(value, list) else [value])]
    if not counts or any(type(n) is not int or n < 0 for n in counts):
        raise ValueError
    if not 0 < sum(counts) <= MOST_NEIGHBORS:
        raise ValueError(f"{sum(counts)} neighbours; expected 1 to {MOST_NEIGHBORS}")
    return [sum(counts)]


def _each_sel(value: Any, info: ValidationInfo) -> list[int] | str:
    ntypes = (info.context or {}).get("ntypes")
    if type(value) is int and value > 0:
        value = [value] * (ntypes or 1)
    return _sel(value, info)


def _atom_counts(value: Any, info: ValidationInfo) -> list[int] | str:
    if not isinstance(value, list):
        raise ValueError("must be a list of integers ≥ 0, the number of atoms of each type")
    return _sel(value, info)


AtomCounts = Annotated[
    list[int] | str,
    PlainValidator(_atom_counts),
    Words("a list of integers ≥ 0, the number of atoms of each type"),
]

EachSel = Annotated[
    int | list[int] | str,
    PlainValidator(_each_sel),
    Words('"auto", "auto:<factor>", an integer > 0, or a list of integers ≥ 0, one per type'),
]

Activation = Annotated[
    str,
    Strict(),
    AfterValidator(_activation),
    Choices(*ACTIVATIONS, closed=False),
    Words(f"one of {', '.join(ACTIVATIONS)} (silut:<threshold> sets where silut bends)"),
]
Precision = Annotated[
    str,
    Strict(),
    AfterValidator(_precision),
    Choices("default", "float32", "float64", closed=True),
    Words("one of default, float32, float64"),
]
Sel = Annotated[
    list[int] | str,
    PlainValidator(_sel),
    Words('"auto", "auto:<factor>", or a list of integers ≥ 0, one per type'),
]

TotalSel = Annotated[
    int | list[int] | str,
    PlainValidator(_total_sel),
    Words('"auto", "auto:<factor>", or an integer > 0, for all types together'),
]


def choices(annotation: Any, metadata: tuple[Any, ...] | list[Any] = ()) -> tuple[str, ...]:
    """The words that a value may be; empty for anything but a choice of words."""
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        return choices(annotation, [*inner, *metadata])
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((mark.names for mark in metadata if isinstance(mark, Choices)), ())


def expected(annotation: Any, metadata: tuple[Any, ...] | list[Any] = (), unit: str = "") -> str:
    """The phrase for what a value must be, from its type, constraints and unit."""
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        return expected(annotation, [*inner, *metadata], unit)
    if get_origin(annotation) in (Union, types.UnionType) and not _words(metadata):
        arms = [arm for arm in get_args(annotation) if arm is not type(None)]
        text = " or ".join(dict.fromkeys(expected(arm, metadata, unit) for arm in arms))
        return text if len(arms) == len(get_args(annotation)) else f"{text}, or null"
    return (_words(metadata) or _phrase(annotation, metadata)) + (f", in {unit}" if unit else "")


def _words(metadata: tuple[Any, ...] | list[Any]) -> str:
    return next((mark.text for mark in metadata if isinstance(mark, Words)), "")


def _phrase(annotation: Any, metadata: tuple[Any, ...] | list[Any]) -> str:
    if get_origin(annotation) is Literal:
        words = [f'"{name}"' for name in get_args(annotation)]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if get_origin(annotation) is list:
        (item,) = get_args(annotation)
        filled = any(isinstance(m, annotated_types.MinLen) for m in metadata)
        return f"a {'non-empty ' * filled}list, each entry {expected(item)}"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text in quotes"}
    name = names.get(annotation, "a block of keys { … }")
    return name + _bounds(metadata) if annotation in (int, float) else name


def _bounds(metadata: tuple[Any, ...] | list[Any]) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [
        f"{sign} {getattr(mark, name):g}"
        for mark in metadata
        for name, sign in signs.items()
        if getattr(mark, name, None) is not None
    ]
    return f" {' and '.join(bounds)}" if bounds else ""


def item_type(annotation: Any) -> Any:
    """Type of the entries of a list (which may be optional); None for anything else."""
    if get_origin(annotation) is Annotated:
        return item_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        arms = [arm for arm in get_args(annotation) if arm is not type(None)]
        return item_type(arms[0]) if len(arms) == 1 else None
    return get_args(annotation)[0] if get_origin(annotation) is list else None
