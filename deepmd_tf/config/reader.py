# SPDX-License-Identifier: BSD-3-Clause
"""Reading JSON and YAML as the user meant it: keys given twice are found, 1e-3 is a number."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deepmd_tf.config.report import Report, join
from deepmd_tf.errors import InputError

JSON_SUFFIXES = (".json",)
YAML_SUFFIXES = (".yaml", ".yml")
_MOST_VALUES = 1_000_000
"""More than any input script has; anchors of YAML can name each other into far more."""
_DEEPEST = 200


class _Block(dict):
    """Keys of one block; ``twice`` are those that were written more than once."""

    twice: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> _Block:
        block = cls(pairs)
        block.twice = _repeated([key for key, _ in pairs])
        return block


def _repeated(keys: list[str]) -> tuple[str, ...]:
    return tuple(key for key, times in Counter(keys).items() if times > 1)


class _Loader(yaml.SafeLoader):
    """YAML with numbers as in JSON (plain YAML 1.1 reads 1e-3 as text)."""

    def fetch_flow_collection_start(self, token: type) -> None:
        # The time that PyYAML takes grows with the square of the depth.
        if self.flow_level > _DEEPEST:
            raise RecursionError
        super().fetch_flow_collection_start(token)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(None, None, "too many keys", node.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)


def _yaml_block(loader: _Loader, node: yaml.MappingNode) -> Iterator[_Block]:
    # merging (<<) changes the node, so what was written is looked at first
    keys = [k.value for k, _ in node.value if isinstance(k, yaml.ScalarNode) and k.value != "<<"]
    block = _Block()
    yield block
    block.update(loader.construct_mapping(node, deep=True))
    block.twice = _repeated(keys)


_Loader.add_constructor("tag:yaml.org,2002:map", _yaml_block)


def read(path: str | os.PathLike[str], report: Report) -> dict[str, Any]:
    """The keys of an input script as plain dictionaries; keys given twice go to ``report``.

    Raises
    ------
    InputError
        If the file cannot be opened, is neither JSON nor YAML by its name, is not valid, or does
        not hold a block of keys.
    """
    path = Path(path)
    if path.suffix.lower() not in JSON_SUFFIXES + YAML_SUFFIXES:
        raise InputError(f'{path}: an input script is a ".json" or a ".yaml" file')
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be read (it is not a file)")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 ({error.reason})") from error
    try:
        data = _json(path, text) if path.suffix.lower() in JSON_SUFFIXES else _yaml(path, text)
        data = _plain(data, "", report, iter(range(_MOST_VALUES)))
    except _TooManyError:
        raise InputError(f"{path}: has more than {_MOST_VALUES} values") from None
    except RecursionError:
        raise InputError(f"{path}: blocks inside blocks without end") from None
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: expected a block of keys {{ … }} with model, learning_rate, training …"
        )
    return data


def read_input(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys of an input script as they stand in the file.

    Raises
    ------
    InputError
        As :func:`read`, and for keys that are given twice.
    """
    report = Report(str(path))
    data = read(path, report)
    report.finish()
    return data


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Block.of)
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1].strip() if text.strip() else ""
        raise InputError(
            f"{path}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}"
            + (f"\n  {line}" if line else "")
            + _json_hint(text, error.pos)
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error


def _json_hint(text: str, position: int) -> str:
    before, after = text[:position].rstrip(), text[position:].lstrip()
    if not text.strip():
        return " (the file is empty)"
    if (before.endswith(",") and after[:1] in ("}", "]")) or after[:1] == ",":
        return "\n  a comma must stand between two entries, not after the last one"
    if after[:2] in ("//", "/*") or after[:1] == "#":
        return '\n  JSON has no comments; a key that begins with "_" is skipped'
    if after[:1] == "'":
        return '\n  text stands in double quotes: "…"'
    if after[:1] == '"':
        return "\n  is a comma missing before this?"
    return ""


def _yaml(path: Path, text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"{path}: {where}not valid YAML: {problem}") from error
    # constructors of tagged values raise what they like
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error


class _TooManyError(Exception):
    """There are more values than an input script can mean."""


def _plain(data: Any, path: str, report: Report, left: Iterator[int]) -> Any:
    """``data`` with ordinary dictionaries; a comment may be given as often as one likes.

    ``left`` is used up by one for each value.
    """
    if next(left, None) is None:
        raise _TooManyError
    if isinstance(data, list):
        return [_plain(item, join(path, i), report, left) for i, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    for key in getattr(data, "twice", ()):
        if not key.startswith("_"):
            report.problem(join(path, key), "given more than once; keep one")
    return {key: _plain(value, join(path, str(key)), report, left) for key, value in data.items()}
