# SPDX-License-Identifier: BSD-3-Clause
"""Reference dialect: plain TensorFlow, differentiable to any order. Slow; the oracle of the
tests."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from deepmd_tf.environment.base import Environment, PairGeometry, PullBack
from deepmd_tf.environment.spec import ANGULAR


class ReferenceEnvironment(Environment):
    """Every pair of atoms and images is looked at; rows are padded. No ghosts: all atoms are local
    (n_all = n_loc)."""

    def build(self) -> None:
        inputs, cutoff, selection = self.inputs, self.spec.cutoff, self.spec.selection
        dtype = inputs.dtype
        n_frames, n = tf.shape(inputs.coord)[0], inputs.n_loc
        # The virial is the derivative with respect to a strain that is zero.
        self._strain = tf.zeros([n_frames, 3, 3], dtype)
        offset, away = self._images()
        coord = tf.reshape(inputs.coord, [-1, n, 3])
        # [frame, centre, neighbour, image, xyz]
        x = coord[:, None, :, None] - coord[:, :, None, None] + offset
        r2 = tf.reduce_sum(x * x, axis=-1)
        shape = tf.shape(r2)
        itself = (tf.eye(n)[None, :, :, None] > 0) & tf.reshape(~away, [1, 1, 1, -1])
        types = self.searched_types()
        candidate = (r2 < cutoff.rcut**2) & ~itself & (types[:, :, None, None] >= 0)
        type_of = tf.broadcast_to(types[:, None, :, None], shape)
        index = tf.broadcast_to(tf.range(n)[None, None, :, None], shape)
        flat = [n_frames, n, shape[2] * shape[3]]
        type_of, index = tf.reshape(type_of, flat), tf.reshape(index, flat)
        candidate, r2 = tf.reshape(candidate, flat), tf.reshape(r2, flat)
        x = tf.reshape(x, [*flat, 3])
        chosen, filled = [], []
        for t, sel in enumerate(selection.counts):
            wanted = candidate & tf.equal(type_of, t) if selection.by_type else candidate
            far = tf.where_v2(wanted, r2, tf.cast(float("inf"), dtype))
            far = tf.pad(far, [[0, 0], [0, 0], [0, sel]], constant_values=float("inf"))
            order = tf.argsort(tf.stop_gradient(far), axis=-1, stable=True)[:, :, :sel]
            filled.append(tf.math.is_finite(tf.gather(far, order, batch_dims=2)))
            chosen.append(tf.minimum(order, flat[2] - 1))
        chosen, self._filled = tf.concat(chosen, 2), tf.concat(filled, 2)
        self._neighbor = tf.gather(index, chosen, batch_dims=2)
        if selection.typed:
            types = tf.gather(type_of, chosen, batch_dims=2)
            types = tf.where_v2(self._filled, types, self.spec.ntypes)
            self.neighbor_types = tf.reshape(types, [-1, selection.n_slots])
        x = tf.gather(x, chosen, batch_dims=2)
        # A harmless vector in empty slots keeps their derivatives finite; the mask removes them.
        x = tf.where_v2(self._filled[..., None], x, tf.constant([1.0, 0.0, 0.0], dtype))
        strained = self._strained_slots(x)
        self._slot_displacement, self._strained = x, strained
        self._displacement = x + tf.einsum("fab,fisb->fisa", self._strain, strained)
        self.rows = self._environment_rows(self._displacement)

    def searched_types(self) -> tf.Tensor:
        """int32 [n_frames, n_loc], types of the atoms among which neighbours are looked for; -1
        takes no part.
        """
        return self.inputs.type

    @property
    def mesh(self) -> tf.Tensor:
        """Whether there are periodic images: its length is not zero."""
        return self.inputs.mesh

    def _images(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Offsets [frame, centre, neighbour, image, xyz] in Å, and bool [image]: not the image at
        home.
        """
        inputs, rcut = self.inputs, self.spec.cutoff.rcut
        dtype = inputs.dtype
        is_periodic = tf.size(self.mesh) > 0
        box = tf.reshape(inputs.box, [-1, 3, 3])
        box = tf.where_v2(is_periodic, box, tf.eye(3, dtype=dtype))
        inverse = tf.linalg.inv(box)
        coord = tf.reshape(inputs.coord, [-1, inputs.n_loc, 3])
        home = tf.stop_gradient(tf.floor(tf.matmul(coord, inverse)))
        home *= tf.cast(is_periodic, dtype)
        # 1 / |column of the inverse| is the distance of faces. Wrapped atoms differ by less than
        # one cell.
        height = tf.reduce_min(1.0 / tf.norm(inverse, axis=1), axis=0)
        count = tf.cast(tf.floor(rcut / height), tf.int32) + 1
        count *= tf.cast(is_periodic, tf.int32)
        axes = [tf.range(-count[d], count[d] + 1) for d in range(3)]
        image = tf.reshape(tf.stack(tf.meshgrid(*axes, indexing="ij"), axis=-1), [-1, 3])
        cells = home[:, :, None, None] - home[:, None, :, None] + tf.cast(image, dtype)
        offset = tf.einsum("fijka,fab->fijkb", cells, box)
        return offset, tf.reduce_any(tf.not_equal(image, 0), axis=1)

    def _environment_rows(self, x: tf.Tensor) -> tf.Tensor:
        """[n_centers, components · slots] from displacements [n_frames, n_loc, slots, 3]."""
        spec, cutoff = self.spec, self.spec.cutoff
        r = tf.sqrt(tf.reduce_sum(x * x, axis=-1))
        u = (r - cutoff.rcut_smth) / cutoff.width
        u = tf.clip_by_value(u, 0.0, 1.0)
        s = (u**3 * (-6.0 * u**2 + 15.0 * u - 10.0) + 1.0) / r
        rows = tf.concat([s[..., None], (s / r)[..., None] * x], axis=-1)
        rows = tf.where_v2(self._filled[..., None], rows, tf.zeros_like(rows))
        if spec.components < ANGULAR:
            rows = rows[..., : spec.components]
        rows = tf.reshape(rows, [-1, spec.row_width])
        center = tf.one_hot(self.inputs.local_type, spec.ntypes, dtype=rows.dtype)
        real = tf.cast(self.inputs.local_type >= 0, rows.dtype)[:, None]
        avg = tf.matmul(center, self.avg)
        std = tf.matmul(center, self.std) + (1.0 - real)
        return real * (rows - avg) / std

    def _strained_slots(self, x: tf.Tensor) -> tf.Tensor:
        """See :meth:`strained`, for displacements [n_frames, n_loc, slots, 3]."""
        if self.inputs.spins is None:
            return x
        n_frames, n = tf.shape(x)[0], self.inputs.n_loc
        frame = n * tf.range(n_frames)[:, None, None]
        center = tf.broadcast_to(frame + tf.range(n)[:, None], tf.shape(self._neighbor))
        rows = (tf.reshape(atom, [-1]) for atom in (center, frame + self._neighbor))
        found = self.strained(tf.reshape(x, [-1, 3]), *rows)
        return tf.reshape(found, tf.shape(x))

    def geometry(self) -> PairGeometry:
        n_frames, n = tf.shape(self.inputs.coord)[0], self.inputs.n_loc
        frame = n * tf.range(n_frames)[:, None, None]
        center = tf.broadcast_to(frame + tf.range(n)[:, None], tf.shape(self._neighbor))
        center, neighbor, x = (
            tf.boolean_mask(values, self._filled)
            for values in (center, frame + self._neighbor, self._displacement)
        )
        return PairGeometry(x, center, neighbor)

    def pull_back(self, gradient: tf.Tensor) -> PullBack:
        return self.pull_back_of([self.rows], [gradient])

    def pull_back_of(
        self, tensors: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor], *, shared: bool = False
    ) -> PullBack:
        coord, strain, x = self.inputs.coord, self._strain, self._slot_displacement
        wanted = [coord, strain, x]
        in_coord, in_strain, in_x = tf.gradients(tensors, wanted, grad_ys=gradients)
        n_frames, n = tf.shape(coord)[0], self.inputs.n_loc
        pair = -tf.reshape(in_x[..., :, None] * self._strained[..., None, :], [-1, 9])
        frame = n * tf.range(n_frames)[:, None, None]
        filled = tf.cast(tf.reshape(self._filled, [-1, 1]), x.dtype)

        def sum_at(atom: tf.Tensor) -> tf.Tensor:
            rows = tf.reshape(atom + frame, [-1])
            return tf.math.unsorted_segment_sum(pair * filled, rows, n_frames * n)

        atom_virial = sum_at(self._neighbor)
        if shared:
            centers = tf.broadcast_to(tf.range(n)[:, None], tf.shape(self._neighbor))
            atom_virial = 0.5 * (atom_virial + sum_at(centers))
        return PullBack(
            force=-in_coord,
            virial=-tf.reshape(in_strain, [-1, 9]),
            atom_virial=tf.reshape(atom_virial, [-1, 9 * n]),
        )
