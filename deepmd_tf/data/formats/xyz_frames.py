# SPDX-License-Identifier: BSD-3-Clause
"""Frames of an extended XYZ file: which key is which label, cells, virials, systems."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

import numpy as np

from deepmd_tf.data.formats.composition import order_between, system_name
from deepmd_tf.data.formats.spool import spool
from deepmd_tf.data.formats.xyz_cell import PROPERTIES, cell_of, is_extended, spelled
from deepmd_tf.data.formats.xyz_comment import keys_of, matrix_of, numbers_of
from deepmd_tf.data.formats.xyz_labels import ROLES, STRESS, candidates, is_of_atoms
from deepmd_tf.data.formats.xyz_lines import LineScanner, excerpt
from deepmd_tf.data.open_directions import FAR, closed
from deepmd_tf.errors import DataError
from deepmd_tf.fields import BOX, COORD, ENERGY, FORCE, VIRIAL

log = logging.getLogger(__name__)

_SYMBOL = re.compile(rb"[A-Za-z][A-Za-z0-9_]{0,31}")
_PLAIN = "species:S:1:pos:R:3"
_MOST_NUMBERS = 1 << 28
_SHOWN = 8
_SAME_ENERGY = 1e-9
_SAME_VIRIAL = 1e-5
_UNITS = {ENERGY.name: "eV", FORCE.name: "eV/Å", VIRIAL.name: "eV"}
_MOST_KINDS = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class StoredFrame:
    """The numbers of a frame, which one it is, and how its atoms were moved."""

    values: np.ndarray
    number: int
    order: np.ndarray | None


Layout = tuple[tuple[str, int], ...]
"""Names and numbers of the items that frames have, in the order in which they are kept."""


class XYZSet:
    """Some frames of one layout; items are put together when they are asked for."""

    def __init__(self, layout: Layout, frames: list[StoredFrame]) -> None:
        self.layout = layout
        self.frames = frames
        self._kept: dict[int, np.ndarray] = {}

    def read(self, begin: int, width: int) -> np.ndarray:
        """An item of ``width`` numbers, [nframes, width]."""
        if begin not in self._kept:
            rows = np.stack([frame.values[begin : begin + width] for frame in self.frames])
            self._kept[begin] = spool().keep(rows)
        return self._kept[begin]


@dataclasses.dataclass
class FramesOfSystem:
    """Frames of one composition, atoms in the order of the first of them."""

    species: list[str]
    periodic: bool
    frames: dict[Layout, list[StoredFrame]] = dataclasses.field(default_factory=dict)

    @property
    def nframes(self) -> int:
        return sum(map(len, self.frames.values()))


@dataclasses.dataclass(frozen=True)
class Contents:
    """Contents of a file: all elements, sorted, and the systems by name."""

    elements: list[str]
    systems: dict[str, FramesOfSystem]


def some_of(names: Iterable[str]) -> str:
    """The first few names, for a message."""
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


class FrameReader:
    """Reads all frames of a file and sorts them into systems.

    Parameters
    ----------
    lines
        The file.
    chosen
        Keys and columns that were chosen by role, see :func:`xyz_labels.parse_choices`.
    """

    def __init__(self, lines: LineScanner, chosen: Mapping[str, str]) -> None:
        self._lines = lines
        self._chosen = chosen
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._used: dict[str, str] = {}
        self._seen: set[str] = set()
        self._systems: dict[tuple[tuple[tuple[str, int], ...], bool], FramesOfSystem] = {}
        self._kinds: dict[tuple[bytes, bool], tuple[FramesOfSystem, np.ndarray | None]] = {}
        self._unread = False
        self._open = 0

    def read(self) -> Contents:
        """Read to the end, and log what was found."""
        while (natoms := self._lines.count()) is not None:
            self._frame(natoms)
        if not self._systems:
            raise DataError(f"{self._lines.file}: holds no frame")
        self._require_chosen()
        systems = {
            system_name(system.species, system.periodic): system
            for system in self._systems.values()
        }
        systems = dict(sorted(systems.items()))
        elements = sorted({name for system in systems.values() for name in system.species})
        self._say(systems)
        return Contents(elements, systems)

    def _frame(self, natoms: int) -> None:
        lines = self._lines
        keys = self._keys(lines.next_line())
        plan = self._plan(keys)
        cell = self._cell(keys)
        box, pbc = (None, None) if cell is None else cell
        of_frame = self._frame_items(plan, keys, box if np.all(pbc) else None)
        rows = lines.rows(natoms, plan.ncolumns)
        columns = {role: lines.numbers(rows, part, role) for role, part in plan.columns.items()}
        system, order = self._system([row[plan.species] for row in rows], box is not None)
        if box is not None and pbc is not None and not pbc.all():
            box = closed(box[None], pbc, columns[COORD.name][None])[0]
            self._open += 1
        items = {} if box is None else {BOX.name: box.reshape(-1)}
        for role, values in columns.items():
            items[role] = (values if order is None else values[order]).reshape(-1)
        items |= of_frame
        layout = tuple((name, values.size) for name, values in items.items())
        if sum(width for _, width in layout) > _MOST_NUMBERS:
            lines.fail("has more numbers than can be meant")
        kept = spool().keep(np.concatenate(list(items.values())))
        system.frames.setdefault(layout, []).append(StoredFrame(kept, lines.frame, order))

    def _keys(self, line: bytes) -> dict[str, str]:
        text = line.decode("utf-8", errors="replace")
        try:
            return spelled(keys_of(text))
        except ValueError as error:
            if is_extended(text):
                self._lines.fail(str(error))
            return {}  # a remark, as files of plain XYZ have it

    def _plan(self, keys: Mapping[str, str]) -> _Plan:
        properties = keys.get(PROPERTIES, _PLAIN)
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
                self._lines.fail(f"Properties={properties} is not understood")
            named[name], kinds[name] = slice(begin, begin + int(count)), kind
            begin += int(count)
        self._seen.update(named, keys)
        needed = {}
        for name, kind, width in (("species", "S", 1), ("pos", "R", 3)):
            found_as = next((other for other in named if other.lower() == name), name)
            part = named.get(found_as)
            if part is None or kinds[found_as] != kind or part.stop - part.start != width:
                self._lines.fail(f"Properties={properties} has no {name}:{kind}:{width}")
            needed[name] = part
        columns, found = {COORD.name: needed["pos"]}, {}
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
                    self._lines.fail(f"the column {names[0]} cannot be {role}")
            else:
                found[role] = names
            self._require_same(role, names)
        return _Plan(begin, needed["species"].start, columns, found)

    def _require_same(self, role: str, names: list[str]) -> None:
        used = self._used.setdefault(role, names[0])
        if used in names:
            names.remove(used)
            names.insert(0, used)
            return
        self._lines.fail(
            f"{role} is {names[0]!r} here, but {used!r} in frames before; choose one, for example "
            f"{self._lines.file}#{role}={used}"
        )

    def _ambiguous(self, role: str, names: Sequence[str], values: str = "") -> NoReturn:
        self._lines.fail(
            f"{role} may be any of {', '.join(names)}{values}; choose one, for example "
            f"{self._lines.file}#{role}={names[-1]}"
        )

    def _cell(self, keys: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            return cell_of(keys)
        except ValueError as error:
            self._lines.fail(str(error))

    def _system(
        self, words: list[bytes], periodic: bool
    ) -> tuple[FramesOfSystem, np.ndarray | None]:
        key = (b" ".join(words), periodic)
        found = self._kinds.get(key)
        if found is None:
            for atom, word in enumerate(words):
                if not _SYMBOL.fullmatch(word):
                    self._lines.fail_at(atom, f": {excerpt(word)} is not a symbol", len(words))
            species = [word.decode("ascii") for word in words]
            composition = (tuple(sorted(Counter(species).items())), periodic)
            system = self._systems.setdefault(composition, FramesOfSystem(species, periodic))
            found = system, order_between(species, system.species)
            if len(self._kinds) < _MOST_KINDS:
                self._kinds[key] = found
        return found

    def _value(self, function: Callable[[str], np.ndarray], name: str, text: str) -> np.ndarray:
        try:
            return function(text)
        except ValueError as error:
            self._lines.fail(f"{name}: {error}")

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
                self._lines.fail(f"{name}: {value.size} numbers, expected one energy")
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
                self._lines.fail(
                    f"{name} is not −{other} V: they differ by {difference:.3g} eV; choose one, "
                    f"for example {self._lines.file}#virial={name}"
                )
        return found[0]

    def _require_chosen(self) -> None:
        missing = [n for r, n in self._chosen.items() if n and r not in self._used]
        if missing:
            seen = some_of(sorted(self._seen))
            raise DataError(f"{self._lines.file}: no frame has {missing[0]!r}; there are {seen}")

    def _say(self, systems: Mapping[str, FramesOfSystem]) -> None:
        """Tell the convention that was read."""
        parts = []
        for role, unit in _UNITS.items():
            name = self._used.get(role)
            if role == VIRIAL.name and name is None and STRESS in self._used:
                name = f"−{self._used[STRESS]}·V (stress in eV/Å³, positive under tension)"
            parts.append(f"{role} = {f'{name} ({unit})' if name else 'none'}")
        parts += [f"{r} = {n}" for r, n in self._used.items() if r not in (*_UNITS, STRESS)]
        file = self._lines.file
        log.info("%s: %d frames, %s", file, self._lines.frame + 1, "; ".join(parts))
        for name in list(systems)[:_SHOWN]:
            one = systems[name]
            kind = "periodic" if one.periodic else "not periodic"
            log.info("%s: %s, %d frames, %s", file, name, one.nframes, kind)
        if len(systems) > _SHOWN:
            log.info("%s: and %d systems more", file, len(systems) - _SHOWN)
        if self._open:
            log.info(
                "%s: %d frames are periodic along some directions only; in the others their cells "
                "reach %g Å beyond the atoms",
                *(file, self._open, FAR),
            )
        if self._unread:
            log.info(
                "%s: virial or stress of frames that are not periodic along all directions is not "
                "used",
                file,
            )
