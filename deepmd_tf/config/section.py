# SPDX-License-Identifier: BSD-3-Clause
"""Base of all sections of the input script.

A section is one class, and an option is one annotated attribute of it: name, type, allowed range,
default, unit and meaning stand there and nowhere else. Reading, messages, ``out.json`` and the
reference pages are derived from them.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import itertools
import re
import types
from collections.abc import Iterator, Mapping
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from deepmd_tf.config.option import (
    ABSENT,
    ELSEWHERE,
    LATER,
    Foreign,
    about,
    allowed,
    nearest,
    nearest_choice,
    option,
)
from deepmd_tf.config.report import Report, entry, join, show
from deepmd_tf.config.values import expected, item_type

__all__ = [
    "ABSENT",
    "ELSEWHERE",
    "LATER",
    "Foreign",
    "Kinds",
    "Registry",
    "Section",
    "about",
    "allowed",
    "item_kinds",
    "kind_name",
    "option",
    "type_name",
    "type_names",
    "variants",
    "walk",
]

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A block of keys. Immutable; changed copies come from ``model_copy``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )

    type_aliases: ClassVar[dict[str, str]] = {}
    """Other spellings of the value of ``type``."""
    other_types: ClassVar[dict[str, str]] = {}
    """Values of ``type`` that DeePMD-kit knows and we refuse, with the reason."""
    refused: ClassVar[dict[str, Foreign]] = {}
    """Keys of DeePMD-kit that we refuse unless they hold their default."""
    ignored: ClassVar[dict[str, Foreign]] = {}
    """Keys of DeePMD-kit that do nothing with TensorFlow: accepted with a warning."""

    @classmethod
    def from_dict(cls: type[S], data: dict[str, Any], source: str = "input") -> S:
        """Read a section from the keys of the input script.

        Parameters
        ----------
        data
            As parsed from JSON or YAML; not changed.
        source
            Name of the file, for messages.

        Raises
        ------
        InputError
            One message that lists every mistake.
        """
        report = Report(source)
        section = cls.read(data, report)
        report.finish()
        return section

    @classmethod
    def read(cls: type[S], data: dict[str, Any], report: Report) -> S:
        """As :meth:`from_dict`, but mistakes go to ``report``; then the result means nothing."""
        tidy = _Tidy(cls, report)
        values = tidy.section(cls, data, "")
        try:
            return cls.model_validate(values, context=cls.context(values))
        except ValidationError as error:
            # A reason says more than what other kinds of values the option may hold.
            for detail in sorted(error.errors(), key=lambda detail: not _reason(detail)):
                _explain(cls, values, detail, report)
            return cls.model_construct()

    @classmethod
    def context(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Context for the checks inside this section: values from elsewhere in it."""
        return {}

    def to_dict(
        self, *, stored: bool = False, like: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The normalised section: canonical names, every default filled in, JSON types only.

        Parameters
        ----------
        stored
            Leave out what is not part of the script in model files.
        like
            What the user wrote. Its keys come first and in its order, then those that were given
            under another of their names, then the defaults.
        """
        fields = type(self).model_fields
        given = like if isinstance(like, Mapping) else {}
        written = {
            name: next((k for k in (name, *about(field)["aliases"]) if k in given), None)
            for name, field in fields.items()
        }
        order = [key for key in given if key in fields]
        order += [name for name, key in written.items() if key not in (None, name)]
        result: dict[str, Any] = {}
        for name in dict.fromkeys([*order, *fields]):
            value, field = getattr(self, name), fields[name]
            if stored and not about(field)["stored"]:
                continue
            if about(field)["ours"] and value == field.default:
                continue
            inner = given.get(written[name] or name)
            if isinstance(value, Section):
                if type(value).model_fields:
                    result[name] = value.to_dict(stored=stored, like=inner)
            elif item_kinds(field.annotation):
                likes = itertools.chain(inner or (), itertools.repeat(None))
                pairs = zip(value, likes, strict=False)
                result[name] = [item.to_dict(stored=stored, like=like) for item, like in pairs]
            elif value is not None or not about(field)["omit_none"]:
                result[name] = copy.deepcopy(value)
        return result


Registry = dict[str, type[Section]]
"""Kinds of a section by the value of ``type``."""


class Kinds(Section):
    """A section of which there are several kinds: subclasses, chosen by the key ``type``.

    The base of the kinds defines :attr:`registered`, empty. :meth:`register` adds a kind, also
    after sections that hold one have been defined: which kinds there are is looked up when an input
    is read.
    """

    registered: ClassVar[Registry]
    usual: ClassVar[str | None] = None
    """The kind that a block without ``type`` is taken for; None: the first."""

    @classmethod
    def register(cls, kind: type[S]) -> type[S]:
        """Add a kind, a subclass of this with a literal ``type``; usable as a decorator.

        Where a base of kinds has a base of more kinds, it is one of both.
        """
        for base in kind.__mro__:
            if "registered" in base.__dict__:
                base.registered[kind_name(kind)] = kind  # type: ignore[attr-defined]
        return kind

    @classmethod
    def kinds(cls) -> list[type[Section]]:
        """The classes that a field of this type may hold, the usual one first."""
        if "registered" not in cls.__dict__:
            return [cls]
        return sorted(cls.registered.values(), key=lambda kind: kind_name(kind) != cls.usual)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        if "registered" not in cls.__dict__:
            return handler(source)
        return core_schema.with_info_plain_validator_function(cls._choose)

    @classmethod
    def _choose(cls, value: Any, info: core_schema.ValidationInfo) -> Section:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise ValueError("expected a block of keys { … }")
        return cls.kind_of(value).model_validate(value, context=info.context)

    @classmethod
    def kind_of(cls, values: Mapping[str, Any]) -> type[Section]:
        """The kind that ``type`` chooses; without one the first, which says that it is missing."""
        return cls.registered.get(str(values.get("type")), cls.kinds()[0])


def variants(annotation: Any) -> list[type[Section]]:
    """The section classes that a field may hold; empty for an ordinary value."""
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [cls for arm in get_args(annotation) for cls in variants(arm)]
    if get_origin(annotation) is None and inspect.isclass(annotation):
        if issubclass(annotation, Kinds):
            return annotation.kinds()
        return [annotation] if issubclass(annotation, Section) else []
    return []


def item_kinds(annotation: Any) -> list[type[Section]]:
    """The section classes that the entries of a list may have; empty for anything else."""
    item = item_type(annotation)
    return [] if item is None else variants(item)


def type_name(cls: type[Section]) -> str | None:
    """Value of ``type`` that selects a class; None for sections without ``type``."""
    field = cls.model_fields.get("type")
    return (
        get_args(field.annotation)[0] if field and get_origin(field.annotation) is Literal else None
    )


def kind_name(cls: type[Section]) -> str:
    """Value of ``type`` that selects a kind."""
    name = type_name(cls)
    if name is None:
        raise TypeError(f"{cls.__name__} has no type that selects it")
    return name


def type_names(cls: type[Section]) -> list[str]:
    """Every value of ``type`` that selects a class, the usual one first."""
    name = type_name(cls)
    aliases = [alias for alias, meant in cls.type_aliases.items() if meant == name]
    return [] if name is None else [name, *aliases]


def _optional_type(cls: type[Section]) -> bool:
    field = cls.model_fields.get("type")
    return field is not None and not field.is_required()


def walk(cls: type[Section], path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Every section of the input with its path, ``cls`` first."""
    yield path, cls
    for name, field in cls.model_fields.items():
        for inner in variants(field.annotation):
            yield from walk(inner, join(path, name))
        for inner in item_kinds(field.annotation):
            yield from walk(inner, join(path, name) + "[]")


class _Tidy:
    """Brings keys into their canonical form: what pydantic sees next has only known names."""

    def __init__(self, root: type[Section], report: Report) -> None:
        self.root = root
        self.report = report

    def section(self, cls: type[Section], data: Any, path: str) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.report.problem(path, f"read {show(data)}; expected a block of keys {{ … }}")
            return {}
        names = {alias: n for n, f in cls.model_fields.items() for alias in about(f)["aliases"]}
        result: dict[str, Any] = {}
        given: dict[str, str] = {}
        meant: dict[str, Any] = {}
        for key, value in data.items():
            here = join(path, str(key))
            if not isinstance(key, str):
                self.report.problem(here, "a key must be text in quotes")
            elif key.startswith("_"):
                continue
            elif key in cls.refused or key in cls.ignored:
                self._foreign(cls, key, value, here)
            elif (name := names.get(key, key)) not in cls.model_fields:
                if near := self._unknown(cls, key, path, names):
                    meant[near] = value
            elif name in given:
                self.report.problem(here, f'the same as "{given[name]}"; give only one of them')
            else:
                given[name] = key
                if name != key:
                    self.report.spelled[join(path, name)] = key
                self._value(cls, name, value, here, result)
        for name in meant.keys() - given.keys():
            # one line is enough: the checks go on as if the key had been spelt right
            self.report.excuse(join(path, name))
            if not variants(cls.model_fields[name].annotation):
                result[name] = meant[name]
        return result

    def _value(
        self, cls: type[Section], name: str, value: Any, here: str, result: dict[str, Any]
    ) -> None:
        field = cls.model_fields[name]
        if inner := variants(field.annotation):
            if value is None and type(None) in get_args(field.annotation):
                result[name] = None
            else:
                self._block(inner, value, here, result, name)
        elif (inner := item_kinds(field.annotation)) and isinstance(value, list):
            blocks: dict[int, Any] = {}
            for i, item in enumerate(value):
                self._block(inner, item, join(here, i), blocks, i)
            # one that was reported stands there as it is, so that the others keep their places
            result[name] = [blocks.get(i, item) for i, item in enumerate(value)]
        elif about(field)["later"] and value != field.get_default(call_default_factory=True):
            default = show(field.get_default(call_default_factory=True))
            remedy = "remove it" if default == "null" else f"only {default} is accepted"
            self._refuse(here, value, LATER, f", {remedy}")
        else:
            result[name] = value

    def _block(
        self, classes: list[type[Section]], value: Any, here: str, result: Any, name: Any
    ) -> None:
        """Put the block of one of these classes into ``result``, if it says which."""
        if chosen := self._variant(classes, value, here):
            result[name] = self.section(chosen, value, here)
            if "type" in result[name] or _optional_type(chosen):
                result[name]["type"] = type_name(chosen)

    def _variant(self, classes: list[type[Section]], data: Any, here: str) -> type[Section] | None:
        """The class that the key ``type`` selects; the first one when it may be left out and is."""
        if not isinstance(data, dict):
            return classes[0]
        if "type" not in data:
            return self._without_type(classes, data, here)
        value = data["type"]
        by_name = {type_name(cls): cls for cls in classes}
        first = classes[0]
        aliases = {k: v for cls in classes for k, v in cls.type_aliases.items()}
        name = aliases.get(value, value) if isinstance(value, str) else value
        if isinstance(name, str) and name in by_name:
            return by_name[name]
        available = ", ".join(f'"{n}"' for n in by_name)
        if isinstance(value, str) and value in first.other_types:
            self.report.problem(
                join(here, "type"),
                f'"{value}" is {first.other_types[value]}; available: {available}',
            )
        else:
            near = nearest(value, [*filter(None, by_name), *aliases, *first.other_types])
            self.report.problem(
                join(here, "type"), f"read {show(value)}; available: {available}{near}"
            )
        # What else the block holds cannot be judged without knowing what it is.
        self.report.excuse(here)
        return None

    def _without_type(
        self, classes: list[type[Section]], data: dict[str, Any], here: str
    ) -> type[Section] | None:
        """The first class, where ``type`` may be left out; otherwise None, and a report."""
        field = classes[0].model_fields.get("type")
        if field is None or not field.is_required():
            return classes[0]
        keys = [key for key in data if not any(key in cls.model_fields for cls in classes)]
        if near := difflib.get_close_matches("type", map(str, keys), n=1):
            self.report.problem(join(here, near[0]), 'unknown key; did you mean "type"?')
        else:
            wanted = expected(Literal[tuple(map(type_name, classes))])
            text = f"missing; expected {wanted}. {field.description}"
            self.report.problem(join(here, "type"), text)
        self.report.excuse(here)
        return None

    def _foreign(self, cls: type[Section], key: str, value: Any, here: str) -> None:
        refuse = key in cls.refused
        foreign = cls.refused[key] if refuse else cls.ignored[key]
        if foreign.default is not ABSENT and value == foreign.default:
            return
        if not refuse:
            self.report.ignore(here, foreign.why)
            return
        remedy = "" if foreign.default is ABSENT else f" or set it to {show(foreign.default)}"
        self._refuse(here, value, foreign.why, f"; remove it{remedy}")

    def _refuse(self, here: str, value: Any, why: str, remedy: str) -> None:
        """Report a key that asks for what is not there."""
        remedy = remedy if self.report.editable else "; evaluate the model with DeePMD-kit"
        self.report.problem(here, f"read {show(value)}; {why}{remedy}")

    def _unknown(
        self, cls: type[Section], key: str, path: str, names: dict[str, str]
    ) -> str | None:
        """Report a key that does not exist; the key that was probably meant, if any."""
        owners = [(where, other) for where, other in walk(self.root) if key in other.model_fields]
        # other kinds of this block, which the key "type" would choose
        here = re.sub(r"\[\d+\]", "[]", path)
        kinds = [f'"{type_name(other)}"' for where, other in owners if where == here]
        homes = [where or "the top level" for where, _ in owners if not where.endswith("[]")]
        lists = [
            join(path, name)
            for name, field in cls.model_fields.items()
            if any(key in item.model_fields for item in item_kinds(field.annotation))
        ]
        near = difflib.get_close_matches(key, cls.model_fields, n=1)
        near = near or difflib.get_close_matches(key, names, n=1)
        if lists:
            hint, near = f"it belongs in the entries of {' or '.join(lists)}", []
        elif kinds:
            hint, near = f"it belongs to type {' or '.join(kinds)}, and this is", []
            hint += f' "{type_name(cls)}"; remove the key, or choose that type'
        elif homes:
            hint, near = f"it belongs in {' or '.join(dict.fromkeys(homes))}", []
        elif near:
            hint = f'did you mean "{near[0]}"?'
        else:
            hint = f"known here: {', '.join(cls.model_fields)}"
        self.report.problem(join(path, key), f"unknown key; {hint}")
        return names.get(near[0], near[0]) if near else None


def _explain(root: type[Section], values: Any, detail: Any, report: Report) -> None:
    """Turn one error of pydantic into one line with path, value and what is allowed."""
    path, field, wanted = _locate(root, values, detail["loc"])
    if report.known(path):
        return
    reason = _reason(detail)
    if reason and isinstance(detail["input"], dict):
        # about a whole block
        report.problem(path, reason)
        return
    if detail["type"] == "missing":
        assert field is not None  # the whole script is never missing
        text = f"missing; expected {wanted}. {field.description}"
    else:
        near = "" if reason or field is None else nearest_choice(detail["input"], field)
        text = f"read {show(detail['input'])}; {reason or f'expected {wanted}'}{near}"
    if path in report.spelled:
        text += f' (written as "{report.spelled[path]}")'
    report.problem(path, text)


def _reason(detail: Any) -> str:
    """What one of our checks says; empty for errors of pydantic itself."""
    return str(detail["ctx"]["error"]) if detail["type"] == "value_error" else ""


def _locate(
    root: type[Section], values: Any, loc: tuple[str | int, ...]
) -> tuple[str, FieldInfo | None, str]:
    """Path in the input script, option (none for ``root`` as a whole), and what is allowed there,
    for the place of an error in ``values``, whose keys ``type`` say which kind each block is.

    pydantic inserts the names of union arms, which are left out. In an option that may hold several
    kinds of values the path ends at the option, for the error of each arm tells half of the story
    only.
    """
    path, field, wanted, classes = "", None, "", [root]
    item: Any = None
    for part in loc:
        if classes:
            name = str(part)
            inner = _kind_of(values, [c for c in classes if name in c.model_fields])
            if inner is not None:
                field, values = inner.model_fields[name], entry(values, name)
                path, wanted, classes = join(path, name), allowed(field), variants(field.annotation)
                item = field.annotation
                continue
        if isinstance(part, int) and (item := item_type(item)) is not None:
            path, wanted, classes = join(path, part), expected(item), variants(item)
            values = entry(values, part)
    return path, field, wanted


def _kind_of(values: Any, classes: list[type[Section]]) -> type[Section] | None:
    """The class that a block is of, or where it does not say that the first."""
    given = entry(values, "type")
    named = [cls for cls in classes if given is not None and type_name(cls) == given]
    return next(iter([*named, *classes]), None)
