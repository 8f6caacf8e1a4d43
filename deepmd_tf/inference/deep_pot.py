# SPDX-License-Identifier: BSD-3-Clause
"""Energy, force and virial from a trained model, with the interface of stock DeePMD-kit's
``DeepPot``."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf import fields
from deepmd_tf.data import Batch, DataSystem
from deepmd_tf.fields import Field
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.inference.batches import evaluate
from deepmd_tf.inference.batching import DEFAULT_ATOMS, BatchSize
from deepmd_tf.inference.deep_eval import DeepEval
from deepmd_tf.inference.evaluator import HESSIAN_VECTOR
from deepmd_tf.inference.frames import Frames, Group, group_frames
from deepmd_tf.inference.hessian import Given, Matrices, Products
from deepmd_tf.metrics import fitted_energy
from deepmd_tf.model.kinds import MODEL_KINDS
from deepmd_tf.progress import bar


class DeepPot(DeepEval):
    """A trained potential; opened, closed and asked for what it is as every
    :class:`~deepmd_tf.inference.deep_eval.DeepEval`.

    Examples
    --------
    >>> with DeepPot("frozen_model.pb") as pot:
    ...     energy, force, virial = pot.eval(coords, cells, [0, 1, 1])
    """

    kind = MODEL_KINDS["ener"]

    def eval(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        atomic: bool = False,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        *,
        hessian: bool = False,
        pbc: ArrayLike | None = None,
        **kwargs: Any,
    ) -> tuple[np.ndarray, ...]:
        """Energy, force and virial of frames; each array holds the atoms in the order in which they
        came.

        Parameters
        ----------
        coords
            [n_frames, n_atoms * 3] or [n_frames, n_atoms, 3], angstrom. Any periodic image of an
            atom will do.
        cells
            [n_frames, 9] or [n_frames, 3, 3], rows are lattice vectors in angstrom; None without
            periodicity.
        atom_types
            [n_atoms], positions in the type map; [n_frames, n_atoms] with ``mixed_type``. -1 is no
            atom.
        atomic
            Whether to return the contributions of the atoms too.
        fparam, aparam
            Frame and atomic parameters of models that have them: [n_frames, dim] or [dim];
            [n_frames, n_atoms, dim], [n_atoms, dim] or [dim], atoms in the order of ``coords``.
            Without frame parameters those of ``default_fparam`` are taken, if the model has them.
        mixed_type
            Whether each frame has types of its own.
        hessian
            Whether to return second derivatives too, as :meth:`eval_hessian` gives them.
        pbc
            Whether the frames are periodic along each lattice vector, three truth values. In open
            directions, as those of surfaces and wires, what the cells have does not matter. None:
            along all, where there are cells, as in DeePMD-kit.

        Returns
        -------
        energy
            float64 [n_frames, 1], eV. All results are float64, whatever the model computes with.
        force
            [n_frames, n_atoms, 3], minus the derivative of the energy with respect to coordinates,
            eV/angstrom.
        virial
            [n_frames, 9], minus the derivative of the energy with respect to strain, eV.
        atomic_energy
            [n_frames, n_atoms, 1], eV; only if ``atomic``. The sum is the energy.
        atomic_virial
            [n_frames, n_atoms, 9], eV; only if ``atomic``. The sum is the virial; the share of a
            pair is given to the neighbour.
        hessian
            float64 [n_frames, 3 n_atoms, 3 n_atoms], eV/Å²; only if ``hessian``.

        Raises
        ------
        InputError
            For arguments of the wrong size or type, for two atoms in the same place (also as
            periodic images), and for a frame that does not fit into memory; the message says which.
        """
        frames = self.frames(
            coords, cells, atom_types, fparam, aparam, mixed_type, pbc=pbc, **kwargs
        )
        found = tuple(self.evaluate(frames, self.kind.evaluated(parts=atomic)).values())
        return (*found, self._multiply(frames, Matrices(frames))) if hessian else found

    def eval_hessian(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        *,
        atoms: ArrayLike | None = None,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        progress: bool = False,
        pbc: ArrayLike | None = None,
    ) -> np.ndarray:
        """Second derivatives of the energy with respect to the coordinates, H = ∂²E/∂r∂r.

        From any model that has weights, however it was trained. Each column is one
        Hessian–vector product, and those are made in blocks of about as many atoms as
        :meth:`eval` takes at once (1024 / n_atoms directions), so that memory beside the result
        does not grow with the number of directions.

        Parameters
        ----------
        coords, cells, atom_types, fparam, aparam, mixed_type, pbc
            As those of :meth:`eval`. Periodic images of an atom move with it.
        atoms
            Positions of the k atoms that move while the others are fixed; None: all.
        progress
            Whether to show a progress bar on a terminal.

        Returns
        -------
        np.ndarray
            float64 [n_frames, 3 n_atoms, 3 n_atoms], or [n_frames, 3 k, 3 k] in the order of
            ``atoms``; eV/Å². Rows and columns are (atom, xyz), atoms in the order in which they
            came; those of virtual atoms are zero. The matrix is as it was computed: symmetric up to
            rounding, to 1e-10 of its largest element for models with float64, so that the asymmetry
            shows the rounding errors.

        Raises
        ------
        InputError
            As :meth:`eval`, and for ``atoms`` that do not exist.
        ModelFileError
            When the graph of the file is run as it is, as that of a compressed model: its
            operations have no second derivatives.
        """
        frames = self.frames(coords, cells, atom_types, fparam, aparam, mixed_type, pbc=pbc)
        return self._multiply(frames, Matrices(frames, atoms), progress)

    def eval_hessian_vector(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        vectors: ArrayLike,
        *,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        progress: bool = False,
        pbc: ArrayLike | None = None,
    ) -> np.ndarray:
        """Products H v of the Hessian with vectors, without the matrix.

        Parameters
        ----------
        coords, cells, atom_types, fparam, aparam, mixed_type, progress, pbc
            As those of :meth:`eval_hessian`.
        vectors
            v, [n_vectors, n_atoms, 3] for all frames or [n_frames, n_vectors, n_atoms, 3];
            3 n_atoms numbers may be in one axis.

        Returns
        -------
        np.ndarray
            float64 [n_frames, n_vectors, n_atoms, 3], eV/Å² times the unit of ``vectors``.

        Raises
        ------
        InputError, ModelFileError
            As :meth:`eval_hessian`.
        """
        frames = self.frames(coords, cells, atom_types, fparam, aparam, mixed_type, pbc=pbc)
        return self._multiply(frames, Given(frames, vectors), progress)

    def compared(self, *, atomic: bool, hessian: bool | None) -> list[Field]:
        """Energies, forces and virials; forces also with the weights ``atom_pref``. Hessians are
        required if they are asked for, and taken where they are if the model was made for them.
        """
        items = [*super().compared(atomic=atomic, hessian=None), fields.ATOM_PREF]
        if hessian or (hessian is None and self.made_for_hessians):
            items.append(fields.HESSIAN.require() if hessian else fields.HESSIAN)
        if self.fits_atom_ener_coeff:
            items.append(fields.ATOM_ENER_COEFF)
        return items

    def predict(
        self, data: DataSystem, batch: Batch, *, atomic: bool = False
    ) -> dict[str, np.ndarray]:
        """Energies are those of :func:`~deepmd_tf.metrics.fitted_energy`; with Hessians, if there
        are labels.
        """
        weighted = bool(batch.arrays.get(fields.ATOM_ENER_COEFF.find_key, 0.0))
        prediction = super().predict(data, batch, atomic=atomic or weighted)
        if weighted:
            prediction["energy"] = fitted_energy(prediction, batch.arrays)
            if not atomic:
                del prediction["atom_ener"]
        if batch.arrays.get(fields.HESSIAN.find_key):
            prediction[fields.HESSIAN.name] = evaluate(
                self.eval_hessian, data, batch, progress=True
            )
        return prediction

    @property
    def has_efield(self) -> bool:
        """Whether the model takes an electric field: no."""
        return False

    @property
    def has_spin(self) -> bool:
        """Whether :meth:`eval` takes spins as an argument: no. The spins of a model that has them
        (:meth:`get_ntypes_spin`) are virtual atoms of further types, as in DeePMD-kit.
        """
        return False

    @property
    def use_spin(self) -> list[bool]:
        """For each type, whether it has a spin; empty without spins."""
        spins = self.get_ntypes_spin()
        return [t < spins for t in range(self.get_ntypes() - spins)] if spins else []

    @property
    def has_hessian(self) -> bool:
        """Whether :meth:`eval` returns a Hessian unasked: no; ``hessian=True`` asks for it."""
        return False

    @property
    def made_for_hessians(self) -> bool:
        """Whether the model was trained on Hessians or frozen with a Hessian output.

        :meth:`eval_hessian` works without.
        """
        return isinstance(self._model, SavedModel) and self._model.made_for_hessians

    def has_chg_spin_ebd(self) -> bool:
        """Whether the model takes charge and spin of a frame: no."""
        return False

    def has_default_chg_spin(self) -> bool:
        """Whether charge and spin may be left out: there are none."""
        return False

    def get_ntypes_spin(self) -> int:
        """Number of types with a spin; as many, the last of :meth:`get_ntypes`, are of the virtual
        atoms that stand for spins, in the same order. Their atoms are as many as the atoms with
        a spin, and in the same order; their forces are those on the spins.
        """
        return self._model.virtual_types

    @property
    def fits_atom_ener_coeff(self) -> bool:
        """Whether it was trained on Σ c_i E_i (``enable_atom_ener_coeff``), not on energies."""
        script = self._model.script or {}
        return bool(script.get("loss", {}).get("enable_atom_ener_coeff", False))

    @cached_property
    def _hessian_batch(self) -> BatchSize:
        # "all frames at once" does not mean all directions of a frame at once
        return BatchSize(self._batch.atoms or DEFAULT_ATOMS)

    def _multiply(self, frames: Frames, products: Products, progress: bool = False) -> np.ndarray:
        """Make the products that are wanted of frames; their result."""
        groups = [group for group in group_frames(frames) if len(group.order)]
        total = sum(len(group.frames) * products.count(group) for group in groups)
        with bar() if progress else nullcontext() as shown:
            task = None if shown is None else shown.add_task("Hessian", total=total)

            def evaluate(group: Group, count: int, part: slice) -> None:
                index = np.arange(part.start, part.stop)
                chosen, numbers = group.frames[index // count], index % count
                vectors = products.directions(group, chosen, numbers)
                values = self._runner.run(
                    frames,
                    group,
                    chosen,
                    lambda evaluator, *given: evaluator.run_hessian(vectors, *given),
                )
                found = values[HESSIAN_VECTOR].reshape(vectors.shape)
                products.store(group, chosen, numbers, found)
                if shown is not None and task is not None:
                    shown.advance(task, len(index))

            for group in groups:
                count = products.count(group)
                self._hessian_batch.run(
                    len(group.frames) * count, len(group.order), partial(evaluate, group, count)
                )
        return products.result
