# SPDX-License-Identifier: BSD-3-Clause
"""Inputs of a model graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names

PERIODIC_SIZE = 6
"""Length of the mesh where images are those of the box, and all atoms are local."""


class Spins(NamedTuple):
    """Atoms that stand for the spins of others. Types of atoms with a spin are the first ones,
    those of the atoms that stand for them the last ones, in the same order; so are the atoms.

    Attributes
    ----------
    lengths
        Å per unit of spin, for each type with a spin.
    """

    lengths: tuple[float, ...]

    def displacements(self, inputs: ModelInputs) -> tf.Tensor:
        """See :attr:`ModelInputs.displaced`."""
        coord = tf.reshape(inputs.coord, [-1, 3])
        away = coord - tf.gather(coord, self._partners(inputs))
        away = tf.where_v2(self._stands_for_spin(inputs)[:, None], away, tf.zeros_like(away))
        # Any periodic image of either will do; engines with neighbour lists give the right ones.
        is_periodic = tf.equal(tf.size(inputs.mesh), PERIODIC_SIZE)
        box = tf.reshape(inputs.box, [-1, 3, 3])
        box = tf.where_v2(is_periodic, box, tf.constant(np.eye(3), box.dtype))
        away = tf.reshape(away, [-1, inputs.n_all, 3])
        cells = tf.round(tf.matmul(away, tf.linalg.inv(box))) * tf.cast(is_periodic, box.dtype)
        return tf.reshape(away - tf.matmul(tf.stop_gradient(cells), box), [-1, 3])

    def on_spins(self, inputs: ModelInputs, force: tf.Tensor) -> tf.Tensor:
        """Forces at fixed spins and forces on the spins, from those on all atoms by themselves.

        An atom takes the atom of its spin along; a spin moves that by its length. With the
        coordinates r of an atom and the spin m, F_r + F_v and F_v · Å per unit of spin.

        Parameters
        ----------
        force
            [n_frames, 3 n_all], minus the derivative by the coordinates of each atom; or any other
            derivative by them.
        """
        of_atoms = tf.reshape(force, [-1, 3])
        partner = tf.gather(of_atoms, self._partners(inputs))
        dtype, n = force.dtype, inputs.ntypes - 2 * len(self.lengths)
        taken = [1.0] * len(self.lengths) + [0.0] * (n + len(self.lengths))
        own = [1.0] * (len(self.lengths) + n) + list(self.lengths)
        types = tf.clip_by_value(tf.reshape(inputs.type, [-1]), 0, inputs.ntypes - 1)
        own, taken = (tf.gather(tf.constant(v, dtype), types)[:, None] for v in (own, taken))
        return tf.reshape(own * of_atoms + taken * partner, tf.shape(force))

    def _stands_for_spin(self, inputs: ModelInputs) -> tf.Tensor:
        """bool [n_frames * n_all]."""
        return tf.reshape(inputs.type, [-1]) >= inputs.ntypes - len(self.lengths)

    def _partners(self, inputs: ModelInputs) -> tf.Tensor:
        """int32 [n_frames * n_all], rows frame · n_all + atom: of an atom with a spin the one that
        stands for it, of that one the atom, of others they themselves.
        """
        # All frames have the same atoms. Local ones are sorted by type, and so are ghosts: atoms of
        # two types that belong together are as far apart as the first atoms of these types.
        n_all, count, ntypes = inputs.n_all, len(self.lengths), inputs.ntypes
        types = inputs.type[:1]
        is_ghost = tf.cast(tf.range(n_all) >= inputs.n_loc, tf.int32)
        at = tf.where_v2(types < 0, 2 * ntypes, types + ntypes * is_ghost)
        counts = tf.reduce_sum(tf.one_hot(at, 2 * ntypes, dtype=tf.int32), axis=1)
        counts = tf.reshape(counts, [-1, 2, ntypes])
        begins = tf.cumsum(counts, axis=-1, exclusive=True)
        away = begins[:, :, ntypes - count :] - begins[:, :, :count]
        rest = tf.zeros_like(begins[:, :, : ntypes - 2 * count])
        away = tf.reshape(tf.concat([away, rest, -away], axis=-1), [-1, 2 * ntypes])
        away = tf.pad(away, [[0, 0], [0, 1]])  # of atoms that are not there
        places = tf.range(n_all) + tf.gather(away, at, batch_dims=1)
        frames = tf.range(tf.shape(inputs.type)[0])[:, None] * n_all
        return tf.reshape(places + frames, [-1])


class AtomRange(NamedTuple):
    """Local atoms ``begin`` to ``end`` − 1 of a frame, int32 scalars."""

    begin: tf.Tensor
    end: tf.Tensor


@dataclass(frozen=True)
class ModelInputs:
    """Coordinates, types, cell, neighbour-list mode and parameters of a batch of frames.

    All frames have the same atoms, sorted by type. Where they are ``mixed`` that does not matter:
    each atom is of the type that is fed for it, which costs a copy of the moments.

    Attributes
    ----------
    coord
        [n_frames, n_all * 3], Å, ghosts after the local atoms.
    type
        int32 [n_frames, n_all]; -1 is a virtual atom.
    natoms
        int32 [2 + ntypes]: n_loc, n_all, local atoms of each type (not looked at if ``mixed``).
    box
        [n_frames, 9], Å, rows are lattice vectors.
    mesh
        int32; its length says where the neighbour list comes from.
    fparam
        [n_frames, dim_fparam], parameters of the frame; None in a model without.
    aparam
        [n_frames, n_loc, dim_aparam], parameters of each local atom; None in a model without.
    placeholders
        The nodes to feed, by name.
    mixed
        Whether the atoms of the frames differ.
    spins
        Which atoms stand for spins of others; None in a model without spins.
    """

    coord: tf.Tensor
    type: tf.Tensor
    natoms: tf.Tensor
    box: tf.Tensor
    mesh: tf.Tensor
    ntypes: int
    fparam: tf.Tensor | None = None
    aparam: tf.Tensor | None = None
    placeholders: dict[str, tf.Tensor] = field(default_factory=dict)
    mixed: bool = False
    spins: Spins | None = None

    @classmethod
    def make_placeholders(
        cls,
        ntypes: int,
        dtype: tf.DType,
        *,
        dim_fparam: int = 0,
        dim_aparam: int = 0,
        mixed: bool = False,
    ) -> ModelInputs:
        """Inputs, from the placeholders that every runtime knows.

        Those of parameters exist only in models that have them: runtimes take their presence for a
        demand.

        Python feeds them flat, C++ feeds [n_frames, n]; they are reshaped before use.
        """
        nodes = {
            names.T_COORD: tf.placeholder(dtype, [None], name=names.T_COORD),
            names.T_TYPE: tf.placeholder(tf.int32, [None], name=names.T_TYPE),
            names.T_NATOMS: tf.placeholder(tf.int32, [ntypes + 2], name=names.T_NATOMS),
            names.T_BOX: tf.placeholder(dtype, [None], name=names.T_BOX),
            names.T_MESH: tf.placeholder(tf.int32, [None], name=names.T_MESH),
        }
        natoms = nodes[names.T_NATOMS]
        fparam = aparam = None
        if dim_fparam:
            nodes[names.T_FPARAM] = tf.placeholder(dtype, [None], name=names.T_FPARAM)
            fparam = tf.reshape(nodes[names.T_FPARAM], [-1, dim_fparam])
        if dim_aparam:
            nodes[names.T_APARAM] = tf.placeholder(dtype, [None], name=names.T_APARAM)
            aparam = tf.reshape(nodes[names.T_APARAM], [-1, natoms[0], dim_aparam])
        return cls(
            coord=tf.reshape(nodes[names.T_COORD], [-1, natoms[1] * 3]),
            type=tf.reshape(nodes[names.T_TYPE], [-1, natoms[1]]),
            natoms=natoms,
            box=tf.reshape(nodes[names.T_BOX], [-1, 9]),
            mesh=nodes[names.T_MESH],
            ntypes=ntypes,
            fparam=fparam,
            aparam=aparam,
            placeholders=nodes,
            mixed=mixed,
        )

    @property
    def dtype(self) -> tf.DType:
        """Type of the coordinates."""
        return self.coord.dtype

    @property
    def n_loc(self) -> tf.Tensor:
        """Atoms whose energies are computed."""
        return self.natoms[0]

    @property
    def n_all(self) -> tf.Tensor:
        """Local and ghost atoms."""
        return self.natoms[1]

    @property
    def local_type(self) -> tf.Tensor:
        """int32 [n_frames * n_loc], types of the local atoms."""
        return tf.reshape(self.type[:, : self.n_loc], [-1])

    def repeat(self, times: tf.Tensor) -> ModelInputs:
        """Each frame ``times`` times, in consecutive copies."""

        def repeated(values: tf.Tensor | None) -> tf.Tensor | None:
            return None if values is None else tf.repeat(values, times, axis=0)

        return ModelInputs(
            coord=repeated(self.coord),
            type=repeated(self.type),
            natoms=self.natoms,
            box=repeated(self.box),
            mesh=self.mesh,
            ntypes=self.ntypes,
            fparam=repeated(self.fparam),
            aparam=repeated(self.aparam),
            mixed=self.mixed,
            spins=self.spins,
        )

    def of_types(self, ntypes: int) -> ModelInputs:
        """The same with the atoms of the first ``ntypes`` types only, of frames that are not
        mixed.
        """
        if ntypes == self.ntypes:
            return self
        if self.mixed:
            raise ValueError("frames of different atoms cannot be cut by type")
        count = tf.reduce_sum(self.natoms[2 : 2 + ntypes])
        natoms = tf.concat([[count], self.natoms[1 : 2 + ntypes]], axis=0)
        aparam = None if self.aparam is None else self.aparam[:, :count]
        return replace(self, natoms=natoms, aparam=aparam, ntypes=ntypes, spins=None)

    @property
    def n_real(self) -> tf.Tensor:
        """Local atoms that do not stand for spins; they come first."""
        virtual = 0 if self.spins is None else len(self.spins.lengths)
        return tf.reduce_sum(self.natoms[2 : 2 + self.ntypes - virtual])

    @property
    def displaced(self) -> tf.Tensor | None:
        """[n_frames * n_all, 3], Å, of each atom from where a strain of the cell takes it: of an
        atom that stands for a spin, from the atom of the spin, so that the spin stays as it is;
        None where no atom does.
        """
        return None if self.spins is None else self.spins.displacements(self)

    def without_virtual(self, values: tf.Tensor) -> tf.Tensor:
        """Values [n_frames, n_loc, k] of atoms, with zeros for what is no atom (type −1)."""
        real = tf.cast(self.local_type >= 0, values.dtype)
        return values * tf.reshape(real, [-1, self.n_loc, 1])

    def split_types(self, values: tf.Tensor) -> list[tf.Tensor]:
        """Cut [n_frames, n_loc, ...] along the atoms into one tensor per atom type, [n_frames, n,
        ...].

        Virtual atoms come first and are counted with type 0. Of mixed frames the atoms of a type
        are together, [1, n, ...], and virtual ones are left out.
        """
        if not self.mixed:
            return self.split_tangents(values, axis=1)
        atoms = tf.reshape(values, [-1, *values.shape.as_list()[2:]])
        parts = tf.dynamic_partition(atoms, self._part(), self.ntypes + 1)
        return [part[None] for part in parts[: self.ntypes]]

    def split_tangents(
        self, values: tf.Tensor, axis: int, atoms: AtomRange | None = None
    ) -> list[tf.Tensor]:
        """Cut along the axis of the atoms, ``atoms`` or all of them, into one tensor per atom type.

        Of frames that are not mixed; virtual atoms come first and are counted with type 0.
        """
        counts = self.natoms[2:] if atoms is None else self.within_types(atoms)[1]
        return tf.split(values, counts, axis=axis, num=self.ntypes)

    def within_types(self, atoms: AtomRange) -> tuple[tf.Tensor, tf.Tensor]:
        """Where the atoms begin among those of each type, and how many they are: int32 [ntypes]."""
        counts = self.natoms[2:]
        before = tf.cumsum(counts, exclusive=True)
        begin, end = (tf.clip_by_value(place - before, 0, counts) for place in atoms)
        return begin, end - begin

    def join_types(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        """[n_frames, n_loc, ...] from one tensor per type, as :meth:`split_types` cuts them.

        Virtual atoms of mixed frames get zeros.
        """
        if not self.mixed:
            return tf.concat(parts, axis=1)
        part = self._part()
        places = tf.dynamic_partition(tf.range(tf.size(part)), part, self.ntypes + 1)
        rest = tf.shape(parts[0])[2:]
        values = [tf.reshape(part, tf.concat([[-1], rest], axis=0)) for part in parts]
        values.append(tf.zeros(tf.concat([tf.shape(places[-1]), rest], axis=0), values[0].dtype))
        joined = tf.dynamic_stitch(places, values)
        return tf.reshape(joined, tf.concat([[-1, self.n_loc], rest], axis=0))

    def _part(self) -> tf.Tensor:
        """int32 [n_frames * n_loc], types of the local atoms, ``ntypes`` of virtual ones."""
        types = self.local_type
        return tf.where_v2(types < 0, self.ntypes, types)
