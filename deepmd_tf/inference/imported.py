# SPDX-License-Identifier: BSD-3-Clause
"""Evaluation of models whose graph is run as it was found in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.errors import ModelFileError
from deepmd_tf.graph.imported import ImportedModel, Neighborhood
from deepmd_tf.graph.refusals import FrameError
from deepmd_tf.graph.session import plain_message, session_config
from deepmd_tf.inference.evaluator import Call, Evaluator
from deepmd_tf.model import ModelInputs
from deepmd_tf.model.kinds import MODEL_KINDS, Output
from deepmd_tf.ops.library import own_stock
from deepmd_tf.ops.neighbors import NeighborList
from deepmd_tf.ops.threads import open_session


class ImportedEvaluator(Evaluator):
    """Runs the graph of a file with this package's operations under stock names.

    Neighbours beyond ``sel`` are counted by a neighbour list of its own; there is no table of this
    package, so nothing is outside of one.
    """

    def __init__(self, model: ImportedModel) -> None:
        super().__init__(model)
        self.model: ImportedModel = model

    def build(self) -> None:
        """Import the graph and open the session.

        Raises
        ------
        ModelFileError
            When the nodes do not fit together.
        InstallError
            When DeePMD-kit is loaded in this process.
        """
        model = self.model
        own_stock()
        with tf.Graph().as_default() as graph:
            inputs = ModelInputs.make_placeholders(
                model.ntypes,
                model.interface,
                dim_fparam=model.parameter_inputs.dim_fparam,
                dim_aparam=model.parameter_inputs.dim_aparam,
            )
            tensors = model.import_into(inputs.placeholders)
            lists = [
                ops.neighbor_list(
                    inputs.coord,
                    inputs.type,
                    inputs.natoms,
                    inputs.box,
                    inputs.mesh,
                    rcut=where.rcut,
                    **_limits(where, model.ntypes),
                )
                for where in ([] if model.fragmented else model.neighborhoods)
            ]
            nodes = MODEL_KINDS[model.model_type].nodes
            if model.virtual_types:  # the graph gives the energies of the others, which come first
                energies = tensors[names.O_ATOM_ENERGY]
                missing = inputs.n_loc - tf.shape(energies)[1]
                tensors[names.O_ATOM_ENERGY] = tf.pad(energies, [[0, 0], [0, missing]])
            found = {
                output.name: _of_all_atoms(tensors[node], output, inputs, model.sel_type)
                if output.selected
                else tensors[node]
                for node, output in nodes.items()
            }
            self._outputs = SimpleNamespace(
                **found,
                descriptor=tensors.get(names.O_DESCRIPTOR),
                diagnostics={
                    key: _counted(key, lists, model.neighborhoods)
                    for key in ("dropped", "max_found")
                },
            )
            self._feeds = list(inputs.placeholders.values())
            self._session = open_session(graph=graph, config=session_config())

    @property
    def dim_descriptor(self) -> int:
        """Length of the descriptor of an atom; where the graph does not say it, that of an atom
        alone.

        Raises
        ------
        ModelFileError
            When the file has no descriptor.
        """
        descriptor = self._outputs.descriptor
        if descriptor is None:
            raise ModelFileError(f'{self.model.path}: has no "{names.O_DESCRIPTOR}"')
        if descriptor.shape.rank and descriptor.shape[-1] is not None:
            return int(descriptor.shape[-1])
        natoms = np.array([1, 1, 1, *[0] * (self.model.ntypes - 1)], np.int32)
        known = self.model.parameter_inputs
        given = [np.zeros((1, dim)) for dim in (known.dim_fparam, known.dim_aparam) if dim]
        types = np.zeros(1, np.int32)
        found = self.run(["descriptor"], np.zeros((1, 1, 3)), None, types, natoms, given)
        return found["descriptor"].size

    def run(
        self,
        wanted: Sequence[str],
        coords: np.ndarray,
        cells: np.ndarray | None,
        types: np.ndarray,
        natoms: np.ndarray,
        parameters: Sequence[np.ndarray] = (),
    ) -> dict[str, np.ndarray]:
        """See :meth:`Evaluator.run <deepmd_tf.inference.evaluator.Evaluator.run>`.

        With fragments one frame after the other: of several, graphs of DeePMD-kit take the atoms of
        the first.
        """
        if not self.model.fragmented:
            return super().run(wanted, coords, cells, types, natoms, parameters)
        found = []
        for k in range(len(coords)):
            one = slice(k, k + 1)
            cell = None if cells is None else cells[one]
            given = [values[one] for values in parameters]
            _require_fragments(k, given[-1].reshape(-1))
            try:
                found.append(super().run(wanted, coords[one], cell, types, natoms, given))
            except FrameError as error:
                raise _of_sub_frame(k, error) from None
        joined = {key: np.concatenate([values[key] for values in found]) for key in wanted}
        return found[0] | joined

    def _run(self, call: Call, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return super()._run(call, values)
        except tf.errors.ResourceExhaustedError:
            raise
        except tf.errors.OpError as error:
            # an operation refuses what another one gives it
            raise ModelFileError(
                f"{self.model.path}: the graph in the file cannot be evaluated "
                f"({plain_message(error)})"
            ) from None

    def run_hessian(self, directions: np.ndarray, *frames: object) -> dict[str, np.ndarray]:
        """Refused.

        Raises
        ------
        ModelFileError
            Always.
        """
        raise ModelFileError(
            f"{self.model.path}: {self.model.why}, and the operations of its graph have no second "
            "derivatives, so there is no Hessian; use the file or the checkpoint that it was made "
            "from"
        )


def _counted(
    key: str, lists: Sequence[NeighborList], neighborhoods: Sequence[Neighborhood]
) -> tf.Tensor:
    """Counts of neighbours, of all lists; zeros where there are none."""
    if not lists:
        dtype = tf.int64 if key == "dropped" else tf.int32
        return tf.zeros([sum(len(where.sel) for where in neighborhoods)], dtype)
    # of all types together the first numbers say everything
    counts = [
        getattr(pairs, key)[: len(where.sel)]
        for pairs, where in zip(lists, neighborhoods, strict=True)
    ]
    return tf.concat(counts, axis=0)


def _require_fragments(frame: int, group: np.ndarray) -> None:
    """Refuse what the graph would round, or take for the quantum region."""
    bad = (group != np.floor(group)) | (group < -1)
    if bad.any():
        atom = int(bad.argmax())
        raise FrameError(
            frame,
            f"has atom {atom} in the group {group[atom]:g}, expected a whole number, or -1 for an "
            "atom that takes no part",
        )
    if (group < 0).all():
        raise FrameError(
            frame,
            "has no atom in a group, expected those of the quantum region in the smallest one",
        )


def _of_sub_frame(frame: int, error: FrameError) -> FrameError:
    """The error of a part of a frame, in which atoms have other numbers."""
    complaint = re.sub(
        r"\batoms? \d+(?: and \d+)?(?: \(counted from 0\))?", "atoms", error.complaint
    )
    complaint = complaint.removeprefix("has ")
    return FrameError(frame, f"has, in the quantum region with one of its fragments, {complaint}")


def _of_all_atoms(
    values: tf.Tensor, output: Output, inputs: ModelInputs, selected: Sequence[int]
) -> tf.Tensor:
    """Values of the atoms of the selected types, sorted by type, with zeros for all others:
    [n_frames, n_loc, size].
    """
    size = output.shape[-1]
    n_frames = tf.shape(inputs.type)[0]
    counts = [inputs.natoms[2 + atom_type] for atom_type in range(inputs.ntypes)]
    framed = tf.reshape(values, [n_frames, sum(counts[t] for t in selected), size])
    parts = iter(tf.split(framed, [counts[t] for t in selected], axis=1))
    every = [
        next(parts) if atom_type in selected else tf.zeros([n_frames, count, size], values.dtype)
        for atom_type, count in enumerate(counts)
    ]
    return tf.concat(every, axis=1)


def _limits(where: Neighborhood, ntypes: int) -> dict[str, Any]:
    """How many neighbours a descriptor keeps, as arguments of the list."""
    if not where.together:
        return {"sel": list(where.sel)}
    (total,) = where.sel
    return {"sel": [-1] * ntypes, "total": total}
