# SPDX-License-Identifier: BSD-3-Clause
"""Several systems: how large their batches are, which one gives the next, and where training is."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from deepmd_tf.config.batch_size import BatchSizeRule
from deepmd_tf.config.probability import SystemProbability
from deepmd_tf.data.batch import Batch, merge
from deepmd_tf.data.checks.findings import Findings
from deepmd_tf.data.memory import Memory
from deepmd_tf.data.sampling import random_state, restore_random, system_probabilities
from deepmd_tf.data.system import DataSystem
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.fields import Field

log = logging.getLogger(__name__)

_NAME_WIDTH = 42
_RULE = "-" * 86


class DataSystems:
    """Training or validation data: a list of systems and the random order in which they are used.

    Parameters
    ----------
    paths
        Directories of the systems (see :func:`~deepmd_tf.data.expand_systems`), or systems that are
        open already.
    batch_size
        Any form of the key ``batch_size``, parsed or not.
    rng
        The generator of all random choices. Training and validation data share one object.
    type_map
        Names of the model's types; without it the systems must agree with each other.
    ntypes
        Number of types of the model, by default as many as the systems need.
    auto_prob, sys_probs
        Any form of the keys of these names.
    fields, dtype, memory
        As for :class:`~deepmd_tf.data.DataSystem`; all systems share `memory`.
    times
        How many times as many frames a batch has as `batch_size` says.

    Attributes
    ----------
    systems : list of DataSystem
        The systems, without those that ``filter:N`` leaves out.
    batch_sizes : list of int
        Frames in a batch of each system.
    mixes : bool
        Whether a batch has frames of several systems (``mixed:N``).
    mixed : bool
        Whether the frames of a batch may have different atoms: they come from several systems, or
        from one of the mixed type.
    n_batches : list of int
        Batches in one pass over each system.
    probabilities : float64 [n_systems]
        How likely each system gives the next batch.
    type_map : list of str or None
        Names of the types.
    ntypes : int
        Number of types.
    rng : numpy.random.RandomState
        The generator.

    Raises
    ------
    DataError
        If a system cannot be read, or systems contradict each other.
    InputError
        If batch sizes or probabilities do not fit the systems.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str] | DataSystem],
        batch_size: BatchSizeRule | int | list[int] | str,
        rng: np.random.RandomState,
        *,
        type_map: Sequence[str] | None = None,
        ntypes: int | None = None,
        auto_prob: SystemProbability | str = "prob_sys_size",
        sys_probs: Sequence[float] | None = None,
        fields: Sequence[Field] = (),
        dtype: Any = np.float64,
        memory: Memory | None = None,
        times: int = 1,
    ) -> None:
        if not paths:
            raise DataError("systems: the list is empty; expected at least one system")
        self.rng = rng
        findings = Findings()
        given = open_systems(
            paths, findings, type_map, fields=fields, dtype=dtype, memory=memory or Memory()
        )
        findings.raise_errors()
        rule = _parse_batch_size(batch_size)
        self.systems, self.batch_sizes = _batch_sizes(given, rule, times)
        self.mixes = rule.rule == "mixed"
        self.mixed = self.mixes or any(system.mixed for system in self.systems)
        self.type_map = list(type_map) if type_map else common_type_map(self.systems)
        self.ntypes = ntypes or max(
            len(self.type_map or ()), *(system.ntypes_needed for system in self.systems)
        )
        for system in self.systems:
            with findings.collect():
                system.count_types(self.ntypes)
        findings.raise_errors()
        self.n_batches = [
            system.n_batches(size)
            for system, size in zip(self.systems, self.batch_sizes, strict=True)
        ]
        self.probabilities = system_probabilities(
            self.n_batches, _parse_auto_prob(auto_prob), sys_probs
        )
        self._companions = _companions(self.systems, self.probabilities)

    def __len__(self) -> int:
        return len(self.systems)

    @property
    def nframes(self) -> int:
        """Number of frames of all systems."""
        return sum(system.nframes for system in self.systems)

    @property
    def total_batches(self) -> int:
        """Steps of one epoch: the largest n_batches / probability, rounded up.

        Number of steps after which every system is expected to have been passed once.
        """
        probabilities = self.probabilities / np.sum(self.probabilities)
        used = probabilities > 0
        return math.ceil(np.max(np.asarray(self.n_batches)[used] / probabilities[used]))

    def has(self, *names: str) -> bool:
        """Whether any set of any system has the files of all these requested items."""
        return any(
            all(found)
            for system in self.systems
            for found in zip(*map(system.has, names), strict=True)
        )

    def get_batch(self, system: int | None = None) -> Batch:
        """The next batch, of the system with the given index or of one drawn at random.

        With ``mixed:N``, N frames without an index, each of a system drawn at random. The first
        says whether the others are drawn of periodic systems or of free ones, so that each system
        has its probability and a batch is of one kind.
        """
        if system is None:
            system = self._draw(self.probabilities)
            if self.mixes:
                return merge(list(self._mix(system, self.batch_sizes[system])))
        return self.systems[system].get_batch(self.batch_sizes[system], self.rng, system)

    def _mix(self, system: int, nframes: int) -> Iterator[Batch]:
        alike = self._companions[self.systems[system].pbc]
        for number in range(nframes):
            if number > 0:
                system = self._draw(alike)
            yield self.systems[system].get_batch(1, self.rng, system)

    def _draw(self, probabilities: np.ndarray) -> int:
        return int(self.rng.choice(len(self.systems), p=probabilities))

    def pick(
        self,
        system: int = 0,
        set_name: str = "",
        frames: Sequence[int] = (),
        parts: Sequence[dict[str, Any]] = (),
        **_: Any,
    ) -> Batch:
        """The frames that :meth:`Batch.origin` named; further entries are ignored.

        Raises
        ------
        DataError
            If there is no such system or set.
        """
        if parts:
            return merge([self.pick(**part) for part in parts])
        return self.systems[system].pick(set_name, frames, system)

    def stat_batches(self, n: int) -> list[list[Batch]]:
        """The next `n` batches of each system in turn, for statistics."""
        return [[self.get_batch(index) for _ in range(n)] for index in range(len(self.systems))]

    def get_state(self) -> dict[str, Any]:
        """All that the next batches depend on, the generator included, in types of JSON.

        Objects that share a generator are saved at the same moment and restored together, in any
        order.
        """
        return {
            "random": random_state(self.rng),
            "systems": [system.get_state() for system in self.systems],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Give from now on exactly the batches that followed :meth:`get_state`.

        Raises
        ------
        DataError
            If the state belongs to other data.
        """
        try:
            random, systems = state["random"], list(state["systems"])
        except (KeyError, TypeError) as error:
            raise DataError(f"saved order of the data cannot be used: {error!r}") from error
        if len(systems) != len(self.systems):
            raise DataError(
                f"there are {len(self.systems)} systems, but {len(systems)} when the order of the "
                "data was saved; continue with the same data"
            )
        for system, saved in zip(self.systems, systems, strict=True):
            system.set_state(saved)
        restore_random(self.rng, random)

    def summary(self, name: str) -> str:
        """A table of the systems: atoms, batch size, batches, probability, periodicity."""
        lines = [
            f"---Summary of DataSystem: {name.capitalize():13s}{_RULE[:47]}",
            f"Found {len(self.systems)} System(s):",
            f"{_fit('system')}  natoms  bch_sz  n_bch   prob       pbc",
        ]
        for index, system in enumerate(self.systems):
            lines.append(
                f"{_fit(system.path)}  {system.natoms:6d}  {self.batch_sizes[index]:6d}  "
                f"{self.n_batches[index]:6d}  {self.probabilities[index]:9.3e}  "
                f"{'T' if system.pbc else 'F':>3s}"
            )
        return "\n".join([*lines, _RULE])


def _companions(systems: Sequence[DataSystem], probabilities: np.ndarray) -> dict[bool, np.ndarray]:
    """Probabilities of the systems, by whether they share a batch with periodic or free ones."""
    periodic = np.array([system.pbc for system in systems])
    found = {}
    for kind in (True, False):
        alike = probabilities * (periodic == kind)
        if np.all(periodic == kind):
            alike = probabilities
        elif np.any(alike > 0):
            alike = alike / alike.sum()
        found[kind] = alike
    return found


def open_systems(
    paths: Sequence[str | os.PathLike[str] | DataSystem],
    findings: Findings,
    type_map: Sequence[str] | None,
    **options: Any,
) -> list[DataSystem]:
    """Open those systems that can be opened.

    Parameters
    ----------
    paths
        Directories, or systems that are open already.
    findings
        Takes up what is wrong with the others.
    type_map, options
        As for :class:`~deepmd_tf.data.DataSystem`.
    """
    found: list[DataSystem] = []
    for path in paths:
        with findings.collect():
            if not isinstance(path, DataSystem):
                path = DataSystem(path, type_map, **options)
            found.append(path)
    return found


def _parse_batch_size(value: BatchSizeRule | int | list[int] | str) -> BatchSizeRule:
    try:
        return BatchSizeRule.parse(value)
    except ValueError as error:
        raise InputError(f"batch_size: {error}") from error


def _parse_auto_prob(value: SystemProbability | str) -> SystemProbability:
    if isinstance(value, SystemProbability):
        return value
    try:
        return SystemProbability.parse(value)
    except ValueError as error:
        raise InputError(f"auto_prob: {error}") from error


def _batch_sizes(
    given: list[DataSystem], rule: BatchSizeRule, times: int
) -> tuple[list[DataSystem], list[int]]:
    if rule.rule == "list" and len(rule.sizes) != len(given):
        raise InputError(
            f"batch_size: the list has {len(rule.sizes)} entries, expected one for each of the "
            f"{len(given)} systems"
        )
    systems = [system for system in given if rule.keeps(system.natoms)]
    if not systems:
        smallest = min(system.natoms for system in given)
        raise InputError(
            f'batch_size: "filter:{rule.atoms}" leaves out every system; '
            f"the smallest has {smallest} atoms"
        )
    if len(systems) < len(given):
        log.warning(
            "batch_size filter:%d leaves out %d of %d systems, which have more atoms",
            rule.atoms,
            len(given) - len(systems),
            len(given),
        )
    sizes = [times * rule.frames(system.natoms, index) for index, system in enumerate(systems)]
    if rule.rule not in ("auto", "mixed"):
        for system, size in zip(systems, sizes, strict=True):
            _warn_if_small(system, size)
    return systems, sizes


def _warn_if_small(system: DataSystem, batch_size: int) -> None:
    smallest = min(system.set_sizes)
    if smallest < batch_size:
        log.warning(
            "%s: batch_size is %d, but %s has only %d frames; its batches hold no more",
            system.path,
            batch_size,
            system.set_names[system.set_sizes.index(smallest)],
            smallest,
        )


def common_type_map(systems: Sequence[DataSystem]) -> list[str] | None:
    """The longest type map of systems whose types mean the same.

    Raises
    ------
    DataError
        If they do not.
    """
    longest: list[str] = []
    owner = ""
    for system in systems:
        names = system.type_map or []
        shared = min(len(names), len(longest))
        if names[:shared] != longest[:shared]:
            raise DataError(
                f"{system.path}: its type_map.raw {names} contradicts {longest} of {owner}; "
                "set model/type_map, so that types are translated by name"
            )
        if len(names) > len(longest):
            longest, owner = names, system.path
    return longest or None


def _fit(name: str) -> str:
    if len(name) > _NAME_WIDTH:
        name = "-- " + name[-(_NAME_WIDTH - 3) :]
    return f"{name:>{_NAME_WIDTH}}"
