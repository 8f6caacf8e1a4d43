# SPDX-License-Identifier: BSD-3-Clause
"""Reading JSON and YAML as the user meant it: keys given twice are found, 1e-3 is a number."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from deepmd_tf.config.report import Report, join, show
from deepmd_tf.errors import InputError

JSON_SUFFIXES = (".json",)
YAML_SUFFIXES = (".yaml", ".yml")
LARGEST_FILE = 50_000_000
"""Bytes of an input script."""
_MOST_VALUES = 1_000_000
"""More than any input script has; anchors of YAML can name each other into far more."""
_DEEPEST = 200
_MERGE = "tag:yaml.org,2002:merge"


class _Block(dict[str, Any]):
    """Keys of one block; ``twice`` has all values of those that were written more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.twice: dict[str, list[Any]] = {}

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> _Block:
        block = cls()
        for key, value in pairs:
            if key in block:
                block.twice.setdefault(key, [block[key]]).append(value)
            block[key] = value
        return block


class _Loader(yaml.SafeLoader):
    """YAML with numbers as in JSON (plain YAML 1.1 reads 1e-3 as text)."""

    _merged = 0
    """Keys that were merged so far."""

    def fetch_flow_collection_start(self, token: type) -> None:
        # The time that PyYAML takes grows with the square of the depth.
        if self.flow_level > _DEEPEST:
            raise RecursionError
        super().fetch_flow_collection_start(token)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace merge keys (<<) by the keys that they stand for.

        A block's own keys win, then those of the first block in a list. It is not left to PyYAML,
        where 6.0.4 takes the last of a list, and older releases keep every copy of a key.
        """
        merged: dict[Hashable, tuple[yaml.Node, yaml.Node]] = {}
        merges = [value for key, value in node.value if key.tag == _MERGE]
        node.value = [(key, value) for key, value in node.value if key.tag != _MERGE]
        for value in merges:
            blocks = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for block in reversed(blocks):
                if not isinstance(block, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, "only blocks can be merged (<<)", block.start_mark
                    )
                self.flatten_mapping(block)
                merged.update((_identity(pair[0]), pair) for pair in block.value)
                self._merged += len(block.value)
                if self._merged > _MOST_VALUES:
                    raise yaml.constructor.ConstructorError(
                        None, None, "too many keys", node.start_mark
                    )
        super().flatten_mapping(node)
        node.value = [*merged.values(), *node.value]


def _identity(key: yaml.Node) -> Hashable:
    """Equal for equal scalars."""
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)


def _yaml_block(loader: _Loader, node: yaml.MappingNode) -> Iterator[_Block]:
    # merging (<<) changes the node, so what was written is looked at first
    written: dict[str, list[yaml.Node]] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            written.setdefault(key.value, []).append(value)
    block = _Block()
    yield block
    keys: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    block.update(keys)
    block.twice = {
        key: [loader.construct_object(value, deep=True) for value in values]
        for key, values in written.items()
        if len(values) > 1
    }


_Loader.add_constructor("tag:yaml.org,2002:map", _yaml_block)


def _yaml_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    if re.fullmatch(r"[-+]?(0|[1-9][0-9_]*)", node.value):
        return loader.construct_yaml_int(node)
    # 0100 would be 64, and 1:30 would be 90
    raise yaml.constructor.ConstructorError(
        None, None, f"{node.value} is a number in YAML only; write it as in JSON", node.start_mark
    )


_Loader.add_constructor("tag:yaml.org,2002:int", _yaml_int)


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
        raise InputError(f'{path}: an input script is a ".json" or a ".yaml" file by its name')
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be read (it is not a file)")
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise InputError(
                f"{path}: has {size / 1e6:.0f} MB, an input script at most {LARGEST_FILE / 1e6:.0f}"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 ({error.reason})") from error
    try:
        data = _json(path, text) if path.suffix.lower() in JSON_SUFFIXES else _yaml(path, text)
        data = _Plain(path, report).of(data, "")
    except RecursionError:
        raise InputError(
            f"{path}: blocks are inside blocks without end; no input script needs that"
        ) from None
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: read {_short(data)}; expected a block of keys {{ … }} with model, "
            "learning_rate, training …"
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
        line = text.split("\n")[error.lineno - 1].strip()
        raise InputError(
            f"{path}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}"
            + (f"\n  {line}" if line else "")
            + _json_hint(text, error.pos)
        ) from error
    except ValueError:
        # all that Python's reader has left to complain of
        raise InputError(f"{path}: not valid JSON: a number has too many digits") from None


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


class _Plain:
    """Makes ordinary dictionaries; a comment may be given as often as one likes."""

    def __init__(self, source: Path, report: Report) -> None:
        self._source = source
        self._report = report
        self._left = _MOST_VALUES

    def of(self, data: Any, path: str) -> Any:
        """``data``, which stands at ``path``."""
        self._left -= 1
        if self._left < 0:
            raise InputError(
                f"{self._source}: has more than {_MOST_VALUES} values; is it an input script? "
                "(aliases of YAML count as what they stand for)"
            )
        if isinstance(data, list):
            return [self.of(item, join(path, i)) for i, item in enumerate(data)]
        if not isinstance(data, dict):
            return data
        for key, values in getattr(data, "twice", {}).items():
            if not key.startswith("_"):
                self._repeated(join(path, key), values)
        return {key: self.of(value, join(path, str(key))) for key, value in data.items()}

    def _repeated(self, path: str, values: list[Any]) -> None:
        shown = ", then ".join(map(_short, values))
        self._report.problem(path, f"given more than once ({shown}); keep one")
        for value in values[:-1]:
            self.of(value, path)


def _short(value: Any) -> str:
    """A value that may be of any size."""
    if isinstance(value, dict):
        return "{ … }" if value else "{}"
    if isinstance(value, list):
        return "[ … ]" if value else "[]"
    return show(value, 30)
