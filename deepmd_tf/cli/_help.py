# SPDX-License-Identifier: BSD-3-Clause
"""The look of ``-h``: commands in groups, one example on a line."""

from __future__ import annotations

import argparse

GROUPS = {
    "data": ("convert-data", "check-data", "neighbor-stat"),
    "training": ("train", "plot", "doc-train-input", "zbl-table"),
    "models": (
        *("freeze", "test", "show", "compress", "model-devi", "eval-desc", "change-bias"),
        "convert-from",
    ),
    "structures": ("vibrations",),
    "this installation": ("doctor", "env"),
}
"""Commands in the order of work."""
SEPARATOR = " | "
"""Between the examples in the epilog of a command."""


class HelpFormatter(argparse.HelpFormatter):
    """Commands by :data:`GROUPS`, and examples that can be pasted."""

    def _format_action(self, action: argparse.Action) -> str:
        format_action = super()._format_action
        if not isinstance(action, argparse._SubParsersAction):
            return format_action(action)
        known = {one.dest: one for one in action._get_subactions()}
        others = set(known) - {name for names in GROUPS.values() for name in names}
        parts = []
        for title, names in (*GROUPS.items(), ("others", sorted(others))):
            shown = [known[name] for name in names if name in known]
            if shown:
                parts.append(f"  {title}:\n")
                self._indent()
                parts += [format_action(one) for one in shown]
                self._dedent()
        return "".join(parts)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        head, _, examples = text.partition(": ")
        if head not in ("example", "examples"):
            return super()._fill_text(text, width, indent)
        return "\n  ".join([f"{indent}{head}:", *examples.split(SEPARATOR)])
