# SPDX-License-Identifier: BSD-3-Clause
"""Changes to the bytes of a file, and to what a path stands for."""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Sequence
from pathlib import Path

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 62, 2**64 - 1)
_TEXT = b"""
    nan inf -inf -1 0 1 1e300 1e-320 1e999 99999999999999999999 -0.0 1_0 0x10 1d3 NaN Infinity null
    true {} [] "" # ! &a *a << ? : - , = ' " \\ { } [ ] ( ) @ / ../.. T F O H Xx
"""
WORDS = (*_TEXT.split(), b"\0", b"\n", b"\r\n", b"\r", b" ", b"\t", b"\xff", "é１\u2028".encode())


def damaged(rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes] = WORDS) -> bytes:
    """One of `seeds` with one to four changes; `words` are what its readers may stumble over."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        place = rng.randrange(len(data) + 1)
        length = min(len(data) - place, rng.choice((1, 2, 4, 8, 16, 64, 512)))
        kind = rng.randrange(11)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 2:
            data[place : place + length] = rng.randbytes(length)
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = data[place : place + length] * rng.choice((1, 2, 50))
        elif kind == 5:
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)
            data[place : place + width] = struct.pack("<Q", number)[:width]
        elif kind == 6:
            end = place + rng.choice((0, length))
            data[place:end] = rng.choice(words)
        elif kind in (7, 8):
            # a word of a text, from where the place is
            found = re.compile(rb"[^\s,:=\"'\[\]{}]+").search(data, place)
            if found is not None and found.end() - found.start() < 100:
                data[found.start() : found.end()] = rng.choice(words)
        elif kind == 9:
            other = rng.choice(seeds)
            begin = rng.randrange(len(other) + 1)
            data[place : place + length] = other[begin : begin + length]
        else:
            del data[place:]
    return bytes(data)


def replaced(rng: random.Random, path: Path) -> None:
    """Put something that is no file, or is none of the user's, where `path` is."""
    kind = rng.randrange(7)
    if kind == 0:
        return
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    elif kind == 4:
        path.symlink_to(path.name)
    elif kind == 5:
        path.symlink_to("nothing")
    else:
        path.write_bytes(b"")
