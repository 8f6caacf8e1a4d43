# SPDX-License-Identifier: BSD-3-Clause
"""All mistakes of one input, collected and reported together."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

from deepmd_tf.errors import InputError

log = logging.getLogger(__name__)


def join(path: str, key: str | int) -> str:
    """Path of an entry: ``model`` and ``type_map`` give ``model.type_map``, and 0 ``[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def entry(values: Any, key: str | int) -> Any:
    """What stands under a key or index; None where there is nothing."""
    if isinstance(values, list) and isinstance(key, int):
        return values[key] if key < len(values) else None
    return values.get(key) if isinstance(values, dict) else None


def show(value: Any, limit: int = 60) -> str:
    """A value as it would stand in the file, shortened to ``limit`` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclasses.dataclass
class Report:
    """Findings of reading an input.

    Attributes
    ----------
    source
        File name for messages, or a description such as ``"input"``.
    problems
        (path, text) of every mistake.
    notes
        Remarks on an accepted input, logged as warnings.
    ignored
        Paths of keys without effect, by reason; logged as warnings.
    spelled
        What stood in the file where an option was given under another of its names, by path.
    excused
        Paths that may be missing without a further word, because another problem tells about them.
    editable
        Whether the user can change the input; not what stands in a model file.
    """

    source: str = "input"
    problems: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    ignored: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    spelled: dict[str, str] = dataclasses.field(default_factory=dict)
    excused: set[str] = dataclasses.field(default_factory=set)
    editable: bool = True

    def problem(self, path: str, text: str) -> None:
        """Record a mistake at ``path``."""
        self.problems.append((path, text))

    def note(self, text: str) -> None:
        """Record a remark."""
        self.notes.append(text)

    def ignore(self, path: str, why: str) -> None:
        """Record a key that has no effect."""
        self.ignored.setdefault(why, []).append(path)

    def excuse(self, path: str) -> None:
        """Let ``path`` be missing without a further word."""
        self.excused.add(path)

    def known(self, path: str) -> bool:
        """Whether ``path``, or a block that holds it, has been reported already."""
        reported = {p for p, _ in self.problems} | self.excused
        return any(path == p or path.startswith((f"{p}.", f"{p}[")) for p in reported)

    def finish(self) -> None:
        """Raise if there was a mistake, log the remarks otherwise.

        Raises
        ------
        InputError
            One message with a line for each mistake.
        """
        if self.problems:
            lines = [f"{path}: {text}" if path else text for path, text in sorted(self.problems)]
            if len(lines) == 1:
                raise InputError(f"{self.source}: {lines[0]}")
            what = "mistakes" if self.editable else "things that this package does not read"
            raise InputError("\n  ".join([f"{self.source}: {len(lines)} {what}", *lines]))
        ignored = [f"ignored: {', '.join(paths)} ({why})" for why, paths in self.ignored.items()]
        for note in [*self.notes, *ignored]:
            log.warning("%s: %s", self.source, note)
