# SPDX-License-Identifier: BSD-3-Clause
r"""Corrections for a quantum region and its pairs with the fragments around it,

.. math:: E = E_{qm}(Q) + \sum_f E_{qmmm}(Q \cup f),

each a model of these atoms alone, without periodic images (``pairwise_dprc`` of DeePMD-kit).
Of an atom of Q all the terms are in its energy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.config import PairwiseConfig
from deepmd_tf.descriptors import Contraction, Features
from deepmd_tf.environment import ModelInputs, PullBack
from deepmd_tf.fitting import FittingOutput
from deepmd_tf.model.atomic import AtomicOutputs, Statistics
from deepmd_tf.model.composite import CompositeModel
from deepmd_tf.model.energy import Adjoints, ModelOutputs, named_outputs
from deepmd_tf.nn.parameters import ModelParameters, Parameters
from deepmd_tf.ops import stock_pairwise

OPEN_MIXED_MESH = 1
"""Length of a mesh without periodicity, for frames whose atoms differ."""


class SubFrames(NamedTuple):
    """Parts of frames, which a model takes for frames of its own.

    Attributes
    ----------
    inputs
        Their atoms; places that are empty have the type −1.
    row
        int32 [n_sub, n_places], row frame · n_all + atom of the atom at each place; −1: none.
    frame
        int32 [n_sub], the frame of each.
    of
        The whole frames.
    """

    inputs: ModelInputs
    row: tf.Tensor
    frame: tf.Tensor
    of: ModelInputs

    @classmethod
    def build(
        cls,
        inputs: ModelInputs,
        forward: tf.Tensor,
        natoms: tf.Tensor,
        frame: tf.Tensor,
        mesh: int = 0,
    ) -> SubFrames:
        """From the atom of its frame at each place, ``forward`` [n_sub, n_places]; ``mesh`` is the
        length of that input.
        """
        row = tf.where_v2(forward < 0, -1, frame[:, None] * inputs.n_all + forward)
        coord = tf.reshape(inputs.coord, [-1, 3])
        # the first row is that of an empty place
        coord = tf.gather(tf.concat([tf.zeros([1, 3], coord.dtype), coord], axis=0), row + 1)
        types = tf.concat([[-1], tf.reshape(inputs.type, [-1])], axis=0)
        part = ModelInputs(
            coord=tf.reshape(coord, [-1, 3 * natoms[1]]),
            type=tf.gather(types, row + 1),
            natoms=natoms,
            box=tf.gather(inputs.box, frame),
            mesh=tf.zeros([mesh], tf.int32),
            ntypes=inputs.ntypes,
            mixed=True,
        )
        return cls(part, row, frame, inputs)

    def by_atom(self, values: tf.Tensor, width: int, *, local: bool = False) -> tf.Tensor:
        """Sums over the sub-frames for each atom of the frames, [n_frames, n_all, width], or for
        each ``local`` one, from ``width`` numbers of each such atom of the sub-frames.
        """
        row = self.row[:, : self.inputs.n_loc] if local else self.row
        shape = tf.shape(self.of.type)
        values, row = tf.reshape(values, [-1, width]), tf.reshape(row, [-1])
        found = tf.math.unsorted_segment_sum(values, row, shape[0] * shape[1])
        found = tf.reshape(found, tf.stack([shape[0], shape[1], width]))
        return found[:, : self.of.n_loc] if local else found

    def by_frame(self, values: tf.Tensor) -> tf.Tensor:
        """Sums over the sub-frames of each frame, [n_frames, ...]."""
        return tf.math.unsorted_segment_sum(values, self.frame, tf.shape(self.of.type)[0])


class PairwiseModel(CompositeModel):
    """The sum of both.

    Parameters
    ----------
    config, **options
        As those of :class:`~deepmd_tf.model.composite.CompositeModel`; its members are the models
        of the quantum region, and of the region with a fragment.
    """

    config: PairwiseConfig

    @property
    def dim_descriptor(self) -> int:
        """None: an atom has features in each sub-frame that it belongs to."""
        return 0

    @property
    def has_second_order(self) -> bool:
        return False

    def describe(self) -> str:
        qm, qmmm = self.nets
        return f"{qm.describe()} + Σ over fragments ({qmmm.describe()})"

    def make_inputs(self, dtype: tf.DType, *, mixed: bool = False) -> ModelInputs:
        """As :meth:`Model.make_inputs <deepmd_tf.model.base.Model.make_inputs>`, with a parameter
        of each atom, ghosts included: the number of its fragment.
        """
        inputs = ModelInputs.make_placeholders(self.ntypes, dtype, dim_aparam=1, mixed=mixed)
        group = tf.reshape(inputs.placeholders[names.T_APARAM], [-1, inputs.n_all, 1])
        return dataclasses.replace(inputs, aparam=group)

    def build(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str = "native",
        statistics: Mapping[str, Statistics] | None = None,
    ) -> ModelOutputs:
        """Build the graph of energies, forces and virials; arguments as those of
        :meth:`Model.build <deepmd_tf.model.base.Model.build>`.
        """
        frames = sub_frames(inputs, dialect)
        parts = [
            model.build(
                part.inputs,
                ModelParameters.of(parameters, model.scope),
                dialect,
                None if statistics is None else statistics.get(model.scope),
                # a sub-frame is no frame that a program knows
                tells_close=False,
            )
            for model, part in zip(self.nets, frames, strict=True)
        ]
        atoms = self._summed([part.atoms for part in parts], frames)
        n_all = inputs.n_all

        def by_atom(width: int, values: Sequence[tf.Tensor]) -> tf.Tensor:
            found = zip(frames, values, strict=True)
            summed = tf.add_n([part.by_atom(value, width) for part, value in found])
            return tf.reshape(summed, [-1, width * n_all])

        pull_back = PullBack(
            by_atom(3, [part.force for part in parts]),
            tf.add_n([part.by_frame(one.virial) for part, one in zip(frames, parts, strict=True)]),
            by_atom(9, [part.atom_virial for part in parts]),
        )
        empty = tf.zeros(tf.stack([tf.shape(inputs.coord)[0], inputs.n_loc, 0]), inputs.dtype)
        adjoints = Adjoints(tf.reshape(empty, [-1, 0]))
        return named_outputs("", atoms, adjoints, pull_back, empty, inputs)

    def build_atoms_at(
        self, contractions: Sequence[Contraction], inputs: ModelInputs, parameters: Parameters
    ) -> AtomicOutputs:
        frames = sub_frames(inputs, "native")
        placed = [
            model.build_atoms_at(own, part.inputs, ModelParameters.of(parameters, model.scope))
            for model, part, own in zip(
                self.nets, frames, self.of_members(contractions), strict=True
            )
        ]
        return self._summed(placed, frames)

    @staticmethod
    def _summed(parts: Sequence[AtomicOutputs], frames: Sequence[SubFrames]) -> AtomicOutputs:
        """The energies of the atoms of the whole frames."""
        values = tf.add_n(
            [
                part.by_atom(atoms.values, 1, local=True)[:, :, 0]
                for part, atoms in zip(frames, parts, strict=True)
            ]
        )
        contractions = [contraction for part in parts for contraction in part.contractions]
        return AtomicOutputs(FittingOutput(values, {}), Features([]), contractions)


def sub_frames(inputs: ModelInputs, dialect: str) -> tuple[SubFrames, SubFrames]:
    """The quantum regions of frames, and their sub-frames of the region with a fragment.

    Those of several frames are together: each has the atoms of its own frame, which the frame that
    ``ConvertForwardMap`` of DeePMD-kit makes of all of them has not.
    """
    if inputs.aparam is None:
        raise ValueError("fragments are told by the atomic parameter")
    group = tf.reshape(inputs.aparam, tf.shape(inputs.type))
    if dialect in ("native", "reference"):
        maps, mesh = ops.fragments(inputs.coord, inputs.type, group, inputs.natoms), 0
    else:
        whole = tf.cast(group, tf.int32)
        # numbers with a fraction are no index of an array of one zero; an assertion would need
        # operations that other programs may not have
        broken = tf.cast(tf.not_equal(tf.cast(whole, group.dtype), group), tf.int32)
        whole += tf.gather(tf.zeros([1], tf.int32), broken, name="aparam_must_be_whole_numbers")
        whole = tf.where_v2(inputs.type < 0, -1, whole)
        maps, mesh = stock_pairwise.dprc_pairwise_idx(whole, inputs.natoms), OPEN_MIXED_MESH
    each = tf.range(tf.shape(inputs.type)[0])
    return (
        SubFrames.build(inputs, maps.forward_qm, maps.natoms_qm, each, mesh),
        SubFrames.build(inputs, maps.forward_qmmm, maps.natoms_qmmm, maps.frame, mesh),
    )
