# SPDX-License-Identifier: BSD-3-Clause
"""What is printed where the terminal, or what takes its place, does not know all characters.

Batch systems and containers often have no locale, or an old one: ASCII, Latin-1, GBK. What such an
output cannot show is written in letters that it can: ``A2`` for Å², ``phi`` for φ. Files that this
package writes are in UTF-8 in any case.
"""

from __future__ import annotations

import codecs
import contextlib
import sys
import unicodedata
from collections.abc import Iterable

HANDLER = "deepmd_tf.plain"
"""Name of the error handler, as for :func:`open`."""
_SYMBOLS = {
    "Å": "A",
    "−": "-",
    "–": "-",
    "·": ".",
    "×": "x",
    "⊗": "x",
    "±": "+-",
    "∂": "d",
    "√": "sqrt",
    "⟨": "<",
    "⟩": ">",
    "‖": "|",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "←": "<-",
    "⁄": "/",
}


def make_printable() -> None:
    """Let no character stop standard output and standard error."""
    codecs.register_error(HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # not in notebooks, and where tests look at the output
            # a stream that refuses, as one whose file was replaced, is left as it is
            with contextlib.suppress(OSError):
                reconfigure(errors=HANDLER)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print results to standard output, a name and a value on each line.

    They are what a command was asked for, so that ``--log-level`` does not change them.
    """
    rows = list(pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def in_ascii(text: str) -> str:
    """``text`` in characters of ASCII; what has no likeness among them as an escape of Python."""
    return "".join(map(_likeness, text))


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of :mod:`codecs`."""
    if isinstance(error, UnicodeDecodeError):  # of a stream that is read, too
        return "\N{REPLACEMENT CHARACTER}", error.end
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # a byte in the name of a file
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return in_ascii(character), error.start + 1


def _likeness(character: str) -> str:
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    words = unicodedata.name(character, "").split()
    if words[:1] == ["GREEK"] and len(words) > 3:
        return words[3].lower() if words[1] == "SMALL" else words[3].capitalize()
    parts = list(unicodedata.normalize("NFKD", character))
    # without its accent a letter would be another, and the name of a file that of another file
    if parts == [character] or any(map(unicodedata.combining, parts)):
        return character.encode("ascii", "backslashreplace").decode()
    return "".join(map(_likeness, parts))
