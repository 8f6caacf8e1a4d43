# SPDX-License-Identifier: BSD-3-Clause
"""The reference page of the input script, from the classes that read it.

``python -m deepmd_tf.config.reference`` prints it in Markdown.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from deepmd_tf.config.report import show
from deepmd_tf.config.root import Config
from deepmd_tf.config.section import Section, about, allowed, type_name, variants, walk

INTRODUCTION = """\
# Input script

The input of `dp --tf train` is a JSON (`.json`) or YAML (`.yaml`, `.yml`) file of nested blocks.
Keys that begin with `_` are comments. Lengths are in Å, energies in eV, forces in eV/Å, virials in
eV.

Keys marked *not yet* are keys of DeePMD-kit that this version reads and accepts with their default
only.
"""


def markdown() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    seen = set()
    for path, cls in walk(Config):
        if (path, cls) not in seen and cls.model_fields:
            seen.add((path, cls))
            parts.append(_section(path, cls))
    return "\n".join(parts)


def _section(path: str, cls: type[Section]) -> str:
    name = type_name(cls)
    title = f"`{path}`" if path else "Top level"
    if name:
        title += f", type `{name}`"
    lines = [f"## {title}", "", inspect.getdoc(cls) or "", ""]
    lines += ["| key | allowed | default | meaning |", "|---|---|---|---|"]
    lines += [_row(key, field) for key, field in cls.model_fields.items()]
    return "\n".join([*lines, "", *_foreign(cls)])


def _row(key: str, field: FieldInfo) -> str:
    block = variants(field.annotation)
    default = "required" if field.is_required() else f"`{_default(field)}`"
    if block:
        default = "required" if field.is_required() else "may be left out"
    meaning = _plain(field.description or "")
    if about(field)["aliases"]:
        meaning += f" Also written {', '.join(f'`{a}`' for a in about(field)['aliases'])}."
    if about(field)["later"]:
        meaning = f"*Not yet.* {meaning}"
    cells = (f"`{key}`", "a block" if block else _plain(allowed(field)), default, meaning)
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """``text`` with the characters escaped that mean something in a Markdown table."""
    return "".join(f"\\{c}" if c in "|<>*[]_`" else c for c in text)


def _default(field: FieldInfo) -> str:
    return show(field.get_default(call_default_factory=True))


def _foreign(cls: type[Section]) -> Iterator[str]:
    for title, keys in (("Refused", cls.refused), ("Accepted and ignored", cls.ignored)):
        reasons: dict[str, list[str]] = {}
        for key, foreign in keys.items():
            reasons.setdefault(foreign.why, []).append(f"`{key}`")
        if reasons:
            parts = [f"{', '.join(names)} ({_plain(why)})" for why, names in reasons.items()]
            yield f"{title}: {'; '.join(parts)}."
            yield ""


if __name__ == "__main__":
    print(markdown())
