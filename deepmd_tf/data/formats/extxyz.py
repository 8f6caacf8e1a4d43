# SPDX-License-Identifier: BSD-3-Clause
"""Frames of extended XYZ files, grouped into systems.

A file is read once, frame by frame, checked, and its numbers are kept in a temporary file, so that
memory holds no more than the sets in use. Reading it here rather than with ASE lets messages name
line, frame and atom, keeps apart what ASE merges (``energy`` and ``free_energy``), and is faster.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import BinaryIO, NoReturn

import numpy as np

from deepmd_tf.data.formats.composition import order_between, system_name
from deepmd_tf.data.formats.source import (
    NOPBC_FILE,
    TYPE_FILE,
    TYPE_MAP_FILE,
    Source,
    StoredArray,
    file_name,
    require_regular_file,
)
from deepmd_tf.data.formats.spool import spool
from deepmd_tf.data.formats.xyz_comment import keys_of, matrix_of, number_of, numbers_of
from deepmd_tf.data.formats.xyz_labels import ROLES, STRESS, candidates, is_of_atoms, parse_choices
from deepmd_tf.errors import DataError
from deepmd_tf.fields import BOX, COORD, ENERGY, FORCE, VIRIAL

log = logging.getLogger(__name__)

FRAMES_PER_SET = 5000
_LONGEST_LINE = 1 << 22
_SHORTEST_ATOM = len(b"H 0 0 0")
_SYMBOL = re.compile(rb"[A-Za-z][A-Za-z0-9_]{0,31}")
_OF_NUMBERS = b"0123456789+-.eE \t\r\n\f\v"
_PLAIN = "species:S:1:pos:R:3"
_MOST_NUMBERS = 1 << 28
_SHOWN = 8
_SAME_ENERGY = 1e-9
_SAME_VIRIAL = 1e-5


def systems_below(path: str, patterns: Sequence[str] | None = None) -> list[str]:
    """The systems of ``file.extxyz#words``, as paths of that form, sorted.

    `path` may name one of them, and choose keys (:func:`xyz_labels.parse_choices`), separated by
    commas. With `patterns`, systems are taken whose names match one of them.

    Raises
    ------
    DataError
        If the file cannot be read, or its labels are ambiguous.
    """
    file, name, words = _split(path)
    systems = read(file, words).systems
    names = [_named(path, name, systems)] if name else list(systems)
    if patterns is not None:
        names = [n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)]
    return sorted(f"{file}#{','.join((n, *words))}" for n in names)


class ExtxyzSource(Source):
    """The frames of one composition and periodicity.

    Parameters
    ----------
    path
        ``file.extxyz#words``, as for :func:`systems_below`; a system must be named if the file has
        more than one.

    Raises
    ------
    DataError
        As there.
    """

    def __init__(self, path: str) -> None:
        file, name, words = _split(path)
        found = read(file, words)
        if not name and len(found.systems) > 1:
            raise DataError(
                f"{path}: the file holds {len(found.systems)} systems; name one of them, for "
                f"example {file}#{','.join((next(iter(found.systems)), *words))}"
            )
        name = _named(path, name, found.systems) if name else next(iter(found.systems))
        self.path = f"{file}#{','.join((name, *words))}"
        self._system = found.systems[name]
        self._texts = {
            TYPE_FILE: "\n".join(str(found.elements.index(s)) for s in self._system.species),
            TYPE_MAP_FILE: "\n".join(found.elements),
        }
        if not self._system.periodic:
            self._texts[NOPBC_FILE] = ""
        self._sets = {
            f"set.{number:03d}": one
            for number, one in enumerate(
                _Set(layout, frames[begin : begin + FRAMES_PER_SET])
                for layout, frames in self._system.frames.items()
                for begin in range(0, len(frames), FRAMES_PER_SET)
            )
        }
        self.sets = tuple(self._sets)

    def exists(self, name: str) -> bool:
        return name in self._texts

    def text(self, name: str) -> str:
        return self._texts[name]

    def find(self, set_name: str, stems: Iterable[str]) -> StoredArray | None:
        one = self._sets[set_name]
        for stem in stems:
            begin = 0
            for item, width in one.layout:
                if item == stem:
                    where = self.where(set_name, stem)
                    read_rows = functools.partial(one.read, begin, width)
                    shape = (len(one.frames), width)
                    return StoredArray(where, shape, np.dtype(np.float64), read_rows)
                begin += width
        return None

    def stems(self, set_name: str) -> list[str]:
        return [name for name, _ in self._sets[set_name].layout]

    def where(self, *names: str) -> str:
        return f"{self.path}/{file_name(*names).removesuffix('.npy')}"

    def origin(self, set_name: str, frame: int, atom: int = 0) -> tuple[int, int]:
        found = self._sets[set_name].frames[frame]
        return found.number, int(atom if found.order is None else found.order[atom])


@dataclasses.dataclass(frozen=True, slots=True)
class _Frame:
    """The numbers of a frame, which one it is, and how its atoms were moved."""

    values: np.ndarray
    number: int
    order: np.ndarray | None


Layout = tuple[tuple[str, int], ...]
"""Names and numbers of the items that frames have, in the order in which they are kept."""


class _Set:
    def __init__(self, layout: Layout, frames: list[_Frame]) -> None:
        self.layout = layout
        self.frames = frames
        self._kept: dict[int, np.ndarray] = {}

    def read(self, begin: int, width: int) -> np.ndarray:
        """The item of so many numbers, [nframes, width]."""
        if begin not in self._kept:
            rows = np.stack([frame.values[begin : begin + width] for frame in self.frames])
            self._kept[begin] = spool().keep(rows)
        return self._kept[begin]


@dataclasses.dataclass
class _System:
    """Frames of one composition, atoms in the order of the first of them."""

    species: list[str]
    periodic: bool
    frames: dict[Layout, list[_Frame]] = dataclasses.field(default_factory=dict)

    @property
    def nframes(self) -> int:
        return sum(map(len, self.frames.values()))


@dataclasses.dataclass(frozen=True)
class Contents:
    """What was found in a file: all elements, sorted, and the systems by name."""

    elements: list[str]
    systems: dict[str, _System]


def read(file: str, words: Sequence[str] = ()) -> Contents:
    """Read and check all frames, unless that was done and the file is the same; log what they are.

    Raises
    ------
    DataError
        If the file cannot be read or a frame is not understood; the message names line, frame and
        atom.
    """
    require_regular_file(file, "a file of extended XYZ")
    found = os.stat(file)
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    return _read(os.path.abspath(file), tuple(words), key, file)


@functools.lru_cache(maxsize=1024)
def _read(_: str, words: tuple[str, ...], __: tuple[int, ...], file: str) -> Contents:
    try:
        with open(file, "rb") as opened:
            reader = _Reader(opened, file, parse_choices(words, file))
            return reader.read()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error


def _split(path: str) -> tuple[str, str, tuple[str, ...]]:
    """File, name of a system (maybe empty), and choices."""
    file, _, rest = path.partition("#")
    parts = [part for part in rest.strip("/").split(",") if part]
    names = [part for part in parts if "=" not in part]
    if len(names) > 1:
        raise DataError(f"{path}: names more than one system: {', '.join(names)}")
    return file, "".join(names), tuple(part for part in parts if "=" in part)


def _named(path: str, name: str, systems: Mapping[str, _System]) -> str:
    if name in systems:
        return name
    raise DataError(f"{path}: there is no system {name!r} in the file; it has {_some(systems)}")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Where things are in frames with the same columns and keys."""

    ncolumns: int
    species: int
    columns: dict[str, slice]
    keys: dict[str, list[str]]


class _Reader:
    def __init__(self, opened: BinaryIO, file: str, chosen: Mapping[str, str]) -> None:
        self._opened = opened
        self._file = file
        self._chosen = chosen
        self._size = os.fstat(opened.fileno()).st_size
        self._line = 0
        self._number = -1
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._used: dict[str, str] = {}
        self._seen: set[str] = set()
        self._systems: dict[tuple[tuple[tuple[str, int], ...], bool], _System] = {}
        self._kinds: dict[tuple[bytes, bool], tuple[_System, np.ndarray | None]] = {}
        self._unread = False

    def read(self) -> Contents:
        while (natoms := self._count()) is not None:
            self._frame(natoms)
        if not self._systems:
            raise DataError(f"{self._file}: holds no frame")
        self._require_chosen()
        systems = {
            system_name(system.species, system.periodic): system
            for system in self._systems.values()
        }
        systems = dict(sorted(systems.items()))
        elements = sorted({name for system in systems.values() for name in system.species})
        self._say(systems)
        return Contents(elements, systems)

    def _fail(self, text: str, line: int | None = None) -> NoReturn:
        raise DataError(
            f"{self._file}: frame {max(0, self._number)} (counted from 0), line "
            f"{line or self._line}: {text}"
        )

    def _next_line(self) -> bytes:
        line = self._opened.readline(_LONGEST_LINE)
        self._line += 1
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            self._fail(f"has more than {_LONGEST_LINE} characters; is this a file of XYZ?")
        return line

    def _count(self) -> int | None:
        """Number of atoms of the next frame, or None at the end."""
        line = self._next_line()
        if not line.strip():
            while line:
                if line.strip():
                    self._fail(f"expected nothing after an empty line, found {_excerpt(line)}")
                line = self._next_line()
            return None
        self._number += 1
        word = line.strip()
        if not word.isdigit() or len(word) > 18 or int(word) == 0:
            self._fail(f"expected the number of atoms of a frame, found {_excerpt(line)}")
        left = self._size - self._opened.tell()
        if int(word) * _SHORTEST_ATOM > left:
            self._fail(f"{int(word)} atoms are announced, but only {left} bytes follow")
        return int(word)

    def _frame(self, natoms: int) -> None:
        keys = self._keys(self._next_line())
        plan = self._plan(keys)
        periodic, box = self._cell(keys)
        of_frame = self._frame_items(plan, keys, box)
        first = self._line + 1
        read_line = self._opened.readline
        rows = [read_line(_LONGEST_LINE).split() for _ in range(natoms)]
        self._line += natoms
        for atom, row in enumerate(rows):
            if len(row) != plan.ncolumns:
                found = "the file ends" if not row and self._at_end() else f"{len(row)} words"
                self._fail(f"atom {atom}: {found}, expected {plan.ncolumns} columns", first + atom)
        columns = {
            role: self._numbers(rows, part, role, first) for role, part in plan.columns.items()
        }
        system, order = self._system([row[plan.species] for row in rows], periodic, first)
        items = {} if box is None else {BOX.name: box.reshape(-1)}
        for role, values in columns.items():
            items[role] = (values if order is None else values[order]).reshape(-1)
        items |= of_frame
        layout = tuple((name, values.size) for name, values in items.items())
        if sum(width for _, width in layout) > _MOST_NUMBERS:
            self._fail("has more numbers than can be meant")
        kept = spool().keep(np.concatenate(list(items.values())))
        system.frames.setdefault(layout, []).append(_Frame(kept, self._number, order))

    def _at_end(self) -> bool:
        return self._opened.tell() >= self._size

    def _keys(self, line: bytes) -> dict[str, str]:
        text = line.decode("utf-8", errors="replace")
        try:
            return keys_of(text)
        except ValueError as error:
            if "Properties=" in text or "Lattice=" in text:
                self._fail(str(error))
            return {}  # a remark, as files of plain XYZ have it

    def _plan(self, keys: Mapping[str, str]) -> _Plan:
        properties = keys.get("Properties", _PLAIN)
        signature = (properties, *keys)
        plan = self._plans.get(signature)
        if plan is None:
            plan = self._plans[signature] = self._make_plan(properties, keys)
        return plan

    def _make_plan(self, properties: str, keys: Mapping[str, str]) -> _Plan:
        words = properties.split(":")
        named: dict[str, slice] = {}
        kinds: dict[str, str] = {}
        begin = 0
        for name, kind, count in zip(words[::3], words[1::3], words[2::3], strict=False):
            good = kind in ("S", "R", "I", "L") and count.isdecimal() and len(count) < 7
            if len(words) % 3 or not good or name in named or int(count) == 0:
                self._fail(f"Properties={properties} is not understood")
            named[name], kinds[name] = slice(begin, begin + int(count)), kind
            begin += int(count)
        self._seen.update(named, keys)
        for name, kind, width in (("species", "S", 1), ("pos", "R", 3)):
            part = named.get(name)
            if part is None or kinds[name] != kind or part.stop - part.start != width:
                self._fail(f"Properties={properties} has no {name}:{kind}:{width}")
        columns, found = {COORD.name: named["pos"]}, {}
        for role in ROLES:
            names = candidates(role, list(named if is_of_atoms(role) else keys), self._chosen)
            if not names:
                continue
            if is_of_atoms(role):
                if len(names) > 1:
                    self._ambiguous(role, names)
                columns[role] = named[names[0]]
                width = columns[role].stop - columns[role].start
                if kinds[names[0]] not in "RI" or (role == FORCE.name and width != 3):
                    self._fail(f"the column {names[0]} cannot be {role}")
            else:
                found[role] = names
            self._require_same(role, names)
        return _Plan(begin, named["species"].start, columns, found)

    def _require_same(self, role: str, names: list[str]) -> None:
        used = self._used.setdefault(role, names[0])
        if used in names:
            names.remove(used)
            names.insert(0, used)
            return
        self._fail(
            f"{role} is {names[0]!r} here, but {used!r} in frames before; choose one, for example "
            f"{self._file}#{role}={used}"
        )

    def _ambiguous(self, role: str, names: Sequence[str], values: str = "") -> NoReturn:
        self._fail(
            f"{role} may be any of {', '.join(names)}{values}; choose one, for example "
            f"{self._file}#{role}={names[-1]}"
        )

    def _numbers(self, rows: list[list[bytes]], part: slice, role: str, first: int) -> np.ndarray:
        words = [row[part] for row in rows]
        values = _parsed(b" ".join([b" ".join(row) for row in words]))
        if values.size == len(rows) * len(words[0]) and np.isfinite(values).all():
            return values.reshape(len(rows), -1)
        for atom, row in enumerate(words):
            try:
                for word in row:
                    number_of(word.decode("utf-8", errors="replace"))
            except ValueError as error:
                self._fail(f"atom {atom}, {role}: {error}", first + atom)
        raise AssertionError(f"frame {self._number}: a number was refused without a reason")

    def _cell(self, keys: Mapping[str, str]) -> tuple[bool, np.ndarray | None]:
        """Whether the frame is periodic, and its cell if so."""
        lattice, words = keys.get("Lattice"), keys.get("pbc")
        if words is None:
            periodic = lattice is not None
        else:
            flags = words.replace("[", " ").replace("]", " ").replace(",", " ").split()
            truth = {_TRUTH.get(flag.lower()) for flag in flags}
            if len(flags) not in (1, 3) or None in truth:
                self._fail(f'pbc="{words}" is not understood; expected "T T T" or "F F F"')
            if len(truth) > 1:
                self._fail(
                    f'pbc="{words}": periodic along some directions only, which is not supported; '
                    'for a slab, use a cell with vacuum and "T T T"'
                )
            periodic = True in truth
        if not periodic:
            return False, None
        if lattice is None:
            self._fail("is periodic (pbc), but has no Lattice")
        values = self._value(numbers_of, "Lattice", lattice)
        if values.size != 9:
            self._fail(f"Lattice has {values.size} numbers, expected 9")
        return True, values.reshape(3, 3)

    def _system(
        self, words: list[bytes], periodic: bool, first: int
    ) -> tuple[_System, np.ndarray | None]:
        key = (b" ".join(words), periodic)
        found = self._kinds.get(key)
        if found is None:
            for atom, word in enumerate(words):
                if not _SYMBOL.fullmatch(word):
                    self._fail(f"atom {atom}: {_excerpt(word)} is not a symbol", first + atom)
            species = [word.decode("ascii") for word in words]
            composition = (tuple(sorted(Counter(species).items())), periodic)
            system = self._systems.setdefault(composition, _System(species, periodic))
            found = system, order_between(species, system.species)
            if len(self._kinds) < _MOST_KINDS:
                self._kinds[key] = found
        return found

    def _value(self, function: Callable[[str], np.ndarray], name: str, text: str) -> np.ndarray:
        try:
            return function(text)
        except ValueError as error:
            self._fail(f"{name}: {error}")

    def _frame_items(
        self, plan: _Plan, keys: Mapping[str, str], box: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        items: dict[str, np.ndarray] = {}
        for role, names in plan.keys.items():
            if role in (VIRIAL.name, STRESS):
                continue
            values = [self._value(numbers_of, name, keys[name]) for name in names]
            if role == ENERGY.name:
                self._require_one_energy(names, values)
            items[role] = values[0]
        if plan.keys.keys() & {VIRIAL.name, STRESS}:
            if box is None:
                self._unread = True
            else:
                with np.errstate(all="ignore"):  # checks tell what is not finite
                    volume = abs(np.linalg.det(box))
                    items[VIRIAL.name] = self._virial(plan, keys, volume).reshape(-1)
        return items

    def _require_one_energy(self, names: list[str], values: list[np.ndarray]) -> None:
        for name, value in zip(names, values, strict=True):
            if value.size != 1:
                self._fail(f"{name}: {value.size} numbers, expected one energy")
        if len(names) > 1 and np.ptp(values) > _SAME_ENERGY * np.abs(values).max():
            shown = ", ".join(f"{value[0]:.10g}" for value in values)
            self._ambiguous(ENERGY.name, names, f" (here {shown})")

    def _virial(self, plan: _Plan, keys: Mapping[str, str], volume: float) -> np.ndarray:
        """[3, 3] in eV. The stress is positive under tension, so virial = −stress V."""
        found = []
        for role, factor in ((VIRIAL.name, 1.0), (STRESS, -volume)):
            names = plan.keys.get(role, [])
            if len(names) > 1:
                self._ambiguous(role, names)
            found += [factor * self._value(matrix_of, name, keys[name]) for name in names]
        if len(found) > 1:
            difference = np.abs(found[0] - found[1]).max()
            if not difference <= _SAME_VIRIAL * max(1.0, np.abs(found[0]).max()):
                name, other = (plan.keys[role][0] for role in (VIRIAL.name, STRESS))
                self._fail(
                    f"{name} is not −{other} V: they differ by {difference:.3g} eV; choose one, "
                    f"for example {self._file}#virial={name}"
                )
        return found[0]

    def _require_chosen(self) -> None:
        missing = [n for r, n in self._chosen.items() if n and r not in self._used]
        if missing:
            raise DataError(
                f"{self._file}: no frame has {missing[0]!r}; there are {_some(sorted(self._seen))}"
            )

    def _say(self, systems: Mapping[str, _System]) -> None:
        """Tell the convention that was read."""
        parts = []
        for role, unit in _UNITS.items():
            name = self._used.get(role)
            if role == VIRIAL.name and name is None and STRESS in self._used:
                name = f"−{self._used[STRESS]}·V (stress in eV/Å³, positive under tension)"
            parts.append(f"{role} = {f'{name} ({unit})' if name else 'none'}")
        parts += [f"{r} = {n}" for r, n in self._used.items() if r not in (*_UNITS, STRESS)]
        log.info("%s: %d frames, %s", self._file, self._number + 1, "; ".join(parts))
        for name in list(systems)[:_SHOWN]:
            one = systems[name]
            kind = "periodic" if one.periodic else "not periodic"
            log.info("%s: %s, %d frames, %s", self._file, name, one.nframes, kind)
        if len(systems) > _SHOWN:
            log.info("%s: and %d systems more", self._file, len(systems) - _SHOWN)
        if self._unread:
            log.info("%s: virial or stress of frames that are not periodic is not used", self._file)


_UNITS = {ENERGY.name: "eV", FORCE.name: "eV/Å", VIRIAL.name: "eV"}
_TRUTH = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
_MOST_KINDS = 10_000


def _parsed(text: bytes) -> np.ndarray:
    """Numbers separated by blanks; none if there is anything else."""
    if not text.translate(None, _OF_NUMBERS):
        with warnings.catch_warnings():
            # Two numbers without a blank are two, which the count shows; the rest is a warning.
            warnings.simplefilter("error", DeprecationWarning)
            try:
                return np.fromstring(text, sep=" ")
            except (ValueError, DeprecationWarning):
                pass
    return np.empty(0)


def _excerpt(line: bytes) -> str:
    text = line.strip().decode("utf-8", errors="replace")
    return repr(text if len(text) <= 40 else text[:40] + "…")
