# SPDX-License-Identifier: BSD-3-Clause
"""Pages that are made from the code whenever the documentation is built.

They land in ``doc/_generated`` and are not kept: what an option, a command or a data item means is
written beside the code that reads it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

from deepmd_tf.cli._help import GROUPS, SEPARATOR
from deepmd_tf.cli.main import build_parser
from deepmd_tf.config.reference import markdown as input_reference
from deepmd_tf.fields import FIELDS


def commands() -> str:
    """Every command with its options, from the argument parsers."""
    parts = [
        "# Commands\n",
        "`dp --tf COMMAND OPTIONS`; `--tf` may be left out, and `python -m deepmd_tf` is the same "
        "as `dp`. All commands have `-h`, which explains them, `-v LEVEL`, how much to say "
        "(0=ERROR, 1=WARNING, 2=INFO, 3=DEBUG; default: INFO), and `-l FILE`, which writes the "
        "messages to a file as well.\n",
    ]
    for name in (name for names in GROUPS.values() for name in names):
        parser = _subparser(name)
        parts += [f"## dp {name}\n", f"{parser.description}\n"]
        _, _, examples = str(parser.epilog).partition(": ")
        parts += [
            "```bash",
            *examples.split(SEPARATOR),
            "```\n",
            "| option | meaning |",
            "|---|---|",
        ]
        parts += [f"| {words} | {_cell(meaning)} |" for words, meaning in _options(parser)]
        parts.append("")
    return "\n".join(parts)


def _subparser(name: str) -> argparse.ArgumentParser:
    actions = build_parser([name])._actions
    (subparsers,) = (a for a in actions if isinstance(a, argparse._SubParsersAction))
    return subparsers.choices[name]


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        common = {"--help", "--log-level", "--log-path"} & set(action.option_strings)
        if common or action.help is argparse.SUPPRESS:
            continue
        names = list(action.option_strings) or [action.metavar or action.dest]
        if action.nargs != 0 and action.option_strings:
            values = "|".join(action.choices or ())
            names[-1] += f" {action.metavar or values or action.dest.upper()}"
        yield ", ".join(f"`{name}`" for name in names).replace("|", "\\|"), action.help or ""


def data_items() -> str:
    """The files of a set, from the records that the loader reads."""
    lines = ["| file | numbers per frame | unit | meaning |", "|---|---|---|---|"]
    for field in FIELDS.values():
        width = {"frame": f"{field.dof}", "atom": f"{field.dof} N", "hessian": "(3 N)²"}
        names = " or ".join(f"`{stem}.npy`" for stem in field.stems)
        lines.append(f"| {names} | {width[field.kind]} | {field.unit} | {_cell(field.doc)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def write(app: Sphinx) -> None:
    """Write the pages; one that has not changed keeps its date, so that it is not built again."""
    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    pages = {
        "input.md": input_reference(),
        "commands.md": commands(),
        "data_items.inc": data_items(),
    }
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
