# SPDX-License-Identifier: BSD-3-Clause
"""Energy, force and virial from a trained model, with the interface of stock DeePMD-kit's
``DeepPot``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf.errors import InputError
from deepmd_tf.graph.frozen import open_model, require_weights
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.refusals import FrameError
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.graph.summary import observed_types, parameter_counts
from deepmd_tf.inference.batching import DEFAULT_ATOMS, BatchSize
from deepmd_tf.inference.evaluator import HESSIAN_VECTOR, Evaluator
from deepmd_tf.inference.frames import Frames, Group, group_frames, standardize
from deepmd_tf.inference.hessian import Given, Matrices, Products
from deepmd_tf.inference.imported import ImportedEvaluator
from deepmd_tf.inference.missing import MissingNeighbors, missing_rule
from deepmd_tf.progress import bar

log = logging.getLogger(__name__)

# Shape of each output of the graph for one frame of n atoms, as it is returned.
_SHAPES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "energy": lambda n: (1,),
    "force": lambda n: (n, 3),
    "virial": lambda n: (9,),
    "atom_energy": lambda n: (n, 1),
    "atom_virial": lambda n: (n, 9),
}
_PER_FRAME = ("energy", "virial")
DESCRIPTOR_TYPES = {"fp32": np.float32, "fp64": np.float64, "native": None}
"""Names of types of results; None is that of the model."""


class DeepPot:
    """A trained potential.

    The file is read as data, and its weights are evaluated by this package's own ops, whichever
    program wrote it. A compressed model has no weights: its graph is checked and then run as it is,
    with the interface precision that it was made with. The object holds one TensorFlow session;
    close it with :meth:`close` or by using it in a ``with`` statement.

    Parameters
    ----------
    model_file
        Frozen graph (``.pb``) of this package or of stock DeePMD-kit, or a checkpoint: its prefix
        or its directory.
    auto_batch_size
        True: about 1024 atoms are evaluated at once (``DP_INFER_BATCH_SIZE`` says otherwise); a
        number: so many atoms; False: all frames at once. Halved where that is too much.
    neighbor_list
        Accepted for compatibility; only None.
    on_missing_neighbors
        What to do where an atom has more neighbours within the cutoff than ``sel``, of which the
        model sees the nearest only: "warn" (once, and again when it gets worse), "error" (the
        evaluation fails and names a frame) or "ignore". None: what the environment variable
        ``DP_ON_MISSING_NEIGHBORS`` says, or else "warn".

    Raises
    ------
    ModelFileError
        When the file is no complete energy model.
    InputError
        When ``on_missing_neighbors`` is none of these.

    Examples
    --------
    >>> with DeepPot("frozen_model.pb") as pot:
    ...     energy, force, virial = pot.eval(coords, cells, [0, 1, 1])
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        auto_batch_size: bool | int = True,
        neighbor_list: None = None,
        *,
        on_missing_neighbors: str | None = None,
    ) -> None:
        self._missing_rule = missing_rule(on_missing_neighbors)
        if neighbor_list is not None:
            raise InputError("neighbor_list: lists made elsewhere are not taken; leave it out")
        self._model = open_model(model_file)
        if auto_batch_size is True:
            self._batch = BatchSize(DEFAULT_ATOMS)
        else:
            self._batch = BatchSize(None if auto_batch_size is False else int(auto_batch_size))
        # "all frames at once" is no wish to have all directions of a frame at once
        self._hessian_batch = BatchSize(self._batch.atoms or DEFAULT_ATOMS)
        imported = isinstance(self._model, ImportedModel)
        self._evaluator = (ImportedEvaluator if imported else Evaluator)(self._model)
        self._evaluator.build()
        self._exact: Evaluator | None = None
        self._said: set[str] = set()
        self._missing = MissingNeighbors(self._model.sel, self._model.type_map)

    def close(self) -> None:
        """Free the session."""
        self._evaluator.close()
        if self._exact is not None:
            self._exact.close()

    def __enter__(self) -> DeepPot:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

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

        Returns
        -------
        energy
            float64 [n_frames, 1], eV.
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
        frames = self._frames(coords, cells, atom_types, fparam, aparam, mixed_type, kwargs)
        wanted = ("energy", "force", "virial") + (("atom_energy", "atom_virial") if atomic else ())
        results = self._evaluate(frames, {name: _SHAPES[name](frames.n_atoms) for name in wanted})
        found = tuple(results[name] for name in wanted)
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
    ) -> np.ndarray:
        """Second derivatives of the energy by the coordinates, H = ∂²E/∂r∂r.

        From any model that has weights, however it was trained. Each column is one
        Hessian–vector product, and those are made in blocks of about as many atoms as
        :meth:`eval` takes at once (1024 / n_atoms directions), so that memory beside the result
        does not grow with the number of directions.

        Parameters
        ----------
        coords, cells, atom_types, fparam, aparam, mixed_type
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
        frames = self._frames(coords, cells, atom_types, fparam, aparam, mixed_type, {})
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
    ) -> np.ndarray:
        """Products H v of the Hessian with vectors, without the matrix.

        Parameters
        ----------
        coords, cells, atom_types, fparam, aparam, mixed_type, progress
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
        frames = self._frames(coords, cells, atom_types, fparam, aparam, mixed_type, {})
        return self._multiply(frames, Given(frames, vectors), progress)

    def eval_descriptor(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        dtype: str = "native",
        **kwargs: Any,
    ) -> np.ndarray:
        """Descriptor of each atom: [n_frames, n_atoms, dim].

        Arguments as :meth:`eval`; ``dtype`` is the type of the result, "fp32", "fp64" or "native",
        that of forces.
        """
        if dtype not in DESCRIPTOR_TYPES:
            raise InputError(f'dtype "{dtype}": expected one of {", ".join(DESCRIPTOR_TYPES)}')
        frames = self._frames(coords, cells, atom_types, fparam, aparam, mixed_type, kwargs)
        shape = (frames.n_atoms, self.dim_descriptor)
        found = self._evaluate(frames, {"descriptor": shape})["descriptor"]
        return found.astype(DESCRIPTOR_TYPES[dtype] or self.dtype, copy=False)

    def get_rcut(self) -> float:
        """Cutoff radius, angstrom."""
        return self._model.rcut

    def get_ntypes(self) -> int:
        """Number of atom types."""
        return self._model.ntypes

    def get_type_map(self) -> list[str]:
        """Names of the atom types."""
        return list(self._model.type_map)

    def get_sel(self) -> list[int]:
        """Largest number of neighbours of each type that an atom sees."""
        return list(self._model.sel)

    def get_sel_type(self) -> list[int]:
        """Types whose atoms contribute; empty, which means all."""
        return []

    def get_dim_fparam(self) -> int:
        """Number of parameters of a frame."""
        return self._model.dim_fparam

    def get_dim_aparam(self) -> int:
        """Number of parameters of an atom."""
        return self._model.dim_aparam

    def has_default_fparam(self) -> bool:
        """Whether frame parameters may be left out."""
        return self.get_default_fparam() is not None

    def get_default_fparam(self) -> list[float] | None:
        """Frame parameters of frames that are given none; None: they must be given."""
        return self._model.default_fparam

    @property
    def dtype(self) -> np.dtype:
        """Type of forces, virials and descriptors: float64 or float32."""
        return self._evaluator.dtype

    @property
    def dim_descriptor(self) -> int:
        """Numbers in the descriptor of an atom."""
        return self._evaluator.dim_descriptor

    @property
    def has_efield(self) -> bool:
        """Whether the model takes an electric field: no."""
        return False

    @property
    def has_spin(self) -> bool:
        """Whether the model has spins: no."""
        return False

    @property
    def use_spin(self) -> list[bool]:
        """For each type, whether it has a spin; empty without spins."""
        return []

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

    def get_model_size(self) -> dict[str, int]:
        """Numbers of weights: "descriptor", "fitting-net", "total"."""
        return parameter_counts(require_weights(self._model))

    def get_observed_types(self) -> dict[str, Any]:
        """Types that were in the training data: "type_num" of them, names in "observed_type"."""
        found = observed_types(require_weights(self._model))
        return {"type_num": len(found), "observed_type": found}

    def get_ntypes_spin(self) -> int:
        """Number of spin types: 0."""
        return 0

    @property
    def fits_atom_ener_coeff(self) -> bool:
        """Whether it was trained on Σ c_i E_i (``enable_atom_ener_coeff``), not on energies."""
        script = self._model.script or {}
        return bool(script.get("loss", {}).get("enable_atom_ener_coeff", False))

    @property
    def missing_neighbors(self) -> str:
        """Where atoms had more neighbours than ``sel`` in what was evaluated so far: the largest
        numbers by type, as "O: 5, sel is 3"; empty if none had."""
        return self._missing.describe()

    def get_model_def_script(self) -> dict[str, Any]:
        """Section ``model`` of the input script, with all defaults."""
        return self._model.model_script

    def _frames(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        fparam: ArrayLike | None,
        aparam: ArrayLike | None,
        mixed_type: bool,
        others: dict[str, Any],
    ) -> Frames:
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise InputError(
                f"{', '.join(given)}: not an argument of an energy model of this package"
            )
        return standardize(
            coords,
            cells,
            atom_types,
            fparam,
            aparam,
            mixed_type,
            type_map=self._model.type_map,
            ntypes=self._model.ntypes,
            dim_fparam=self.get_dim_fparam(),
            dim_aparam=self.get_dim_aparam(),
            default_fparam=self.get_default_fparam(),
            default_aparam=self._model.unused_aparam,
        )

    def _evaluate(
        self, frames: Frames, shapes: dict[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        """Outputs of the graph for all frames; virtual atoms have zeros."""
        results = {
            name: np.zeros(
                (frames.n_frames, *shape), np.float64 if name == "energy" else self._evaluator.dtype
            )
            for name, shape in shapes.items()
        }
        for group in group_frames(frames):
            if len(group.order):
                self._evaluate_group(frames, group, results)
        return results

    def _evaluate_group(self, frames: Frames, group: Group, results: dict[str, np.ndarray]) -> None:
        wanted = tuple(results)

        def evaluate(part: slice) -> None:
            chosen = group.frames[part]
            values = self._run_frames(
                frames, group, chosen, lambda evaluator, *given: evaluator.run(wanted, *given)
            )
            for name, array in results.items():
                if name in _PER_FRAME:
                    array[chosen] = values[name].reshape(len(chosen), -1)
                else:
                    array[chosen[:, None], group.order] = values[name].reshape(
                        len(chosen), len(group.order), -1
                    )

        self._batch.run(len(group.frames), len(group.order), evaluate)

    def _multiply(self, frames: Frames, products: Products, progress: bool = False) -> np.ndarray:
        """Make the products that are wanted of frames; their result."""
        groups = [group for group in group_frames(frames) if len(group.order)]
        total = sum(len(group.frames) * products.count(group) for group in groups)
        with bar() if progress else nullcontext() as shown:
            task = shown and shown.add_task("Hessian", total=total)

            def evaluate(group: Group, count: int, part: slice) -> None:
                index = np.arange(part.start, part.stop)
                chosen, numbers = group.frames[index // count], index % count
                vectors = products.directions(group, chosen, numbers)
                values = self._run_frames(
                    frames,
                    group,
                    chosen,
                    lambda evaluator, *given: evaluator.run_hessian(vectors, *given),
                )
                found = values[HESSIAN_VECTOR].reshape(vectors.shape)
                products.store(group, chosen, numbers, found)
                if shown:
                    shown.advance(task, len(index))

            for group in groups:
                count = products.count(group)
                self._hessian_batch.run(
                    len(group.frames) * count, len(group.order), partial(evaluate, group, count)
                )
        return products.result

    def _run_frames(
        self,
        frames: Frames,
        group: Group,
        chosen: np.ndarray,
        run: Callable[..., dict[str, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """``run(evaluator, ...)`` on frames of a group, with tables where these reach."""
        order = group.order
        arguments = (
            frames.coords[chosen[:, None], order],
            None if frames.cells is None else frames.cells[chosen],
            group.types,
            group.natoms(self._model.ntypes),
            frames.parameters(chosen, order),
        )
        try:
            values = run(self._evaluator, *arguments)
            if "outside" in values and values["outside"].any():
                values = run(self._without_tables(), *arguments)
        except FrameError as error:
            raise error.renumber(chosen, order) from None
        if values["dropped"].any():
            self._tell_missing(values, arguments, chosen)
        return values

    def _without_tables(self) -> Evaluator:
        """For frames in which atoms are closer than the embedding tables reach."""
        self._warn(
            "close",
            "some atoms are much closer than any in the training data, where the model "
            "extrapolates; such frames are evaluated without embedding tables, which is slower",
        )
        if self._exact is None:
            self._exact = Evaluator(self._model, use_table=False)
            self._exact.build()
        return self._exact

    def _tell_missing(
        self, values: dict[str, np.ndarray], arguments: tuple[Any, ...], chosen: np.ndarray
    ) -> None:
        """Warn of neighbours beyond ``sel``, or refuse the first frame that has them."""
        worse = self._missing.found(values["dropped"], values["max_found"])
        if self._missing_rule == "error":
            raise self._frame_with_missing(arguments, chosen)
        if worse and self._missing_rule == "warn":
            log.warning(
                "%s: some atoms have more neighbours within the cutoff than the model was made for "
                "(%s); the farthest are left out, so the energy is not smooth there (said again "
                "when it gets worse)",
                self._model.path,
                self._missing.describe(),
            )

    def _frame_with_missing(self, arguments: tuple[Any, ...], chosen: np.ndarray) -> FrameError:
        coords, cells, types, natoms, parameters = arguments

        def count(i: int) -> dict[str, np.ndarray]:
            one = slice(i, i + 1)
            cell = None if cells is None else cells[one]
            given = [values[one] for values in parameters]
            return self._evaluator.run((), coords[one], cell, types, natoms, given)

        frames = ((i, count(i)) for i in range(len(chosen)))
        i, counts = next((i, counts) for i, counts in frames if np.any(counts["dropped"]))
        return FrameError(
            int(chosen[i]),
            "has an atom with more neighbours within the cutoff than the model was made for "
            f"({self._missing.describe(counts['max_found'])})",
            'train with a larger sel, or choose "warn" for missing neighbours',
        )

    def _warn(self, kind: str, message: str) -> None:
        """Say each kind of thing once."""
        if kind not in self._said:
            self._said.add(kind)
            log.warning("%s: %s (said once)", self._model.path, message)
