# SPDX-License-Identifier: BSD-3-Clause
"""One graph and one session for the life of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.data.batch import FREE_MESH, PERIODIC_MESH
from deepmd_tf.errors import ModelFileError
from deepmd_tf.graph.frozen import SavedModel
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.refusals import translate
from deepmd_tf.graph.session import make_callable, session_config
from deepmd_tf.model.hessian import hessian_vector_product
from deepmd_tf.ops.threads import open_session

Call = tuple[list[str], Callable[..., list[np.ndarray]]]
"""Names of what is computed, and the function that computes it from what is fed."""
HESSIAN_VECTOR = "hessian_vector"
"""Name of the result of :meth:`Evaluator.run_hessian`."""


class Evaluator(ABC):
    """Runs a graph of a model.

    Parameters
    ----------
    model
        Description, and weights or graph.
    """

    def __init__(self, model: SavedModel | ImportedModel) -> None:
        self.model = model
        self.dtype = np.dtype(model.interface.as_numpy_dtype)
        self._session: tf.Session | None = None
        self._outputs: Any  # tensors, by the names of what can be evaluated
        self._feeds: list[tf.Tensor]
        self._calls: dict[tuple[str, ...], Call] = {}

    @abstractmethod
    def build(self) -> None:
        """Build the graph and open the session.

        Raises
        ------
        ModelFileError
            When the contents of the file do not fit together.
        """

    @property
    @abstractmethod
    def dim_descriptor(self) -> int:
        """Length of the descriptor of an atom."""

    def type_embedding(self) -> np.ndarray | None:
        """Vector of each type of atom, [ntypes, width] or with a row of zeros [ntypes + 1, width];
        None without a type embedding.
        """
        session = self._opened()
        found = [op for op in session.graph.get_operations() if _is_type_embedding(op.name)]
        return session.run(found[0].outputs[0]) if found else None

    def close(self) -> None:
        """Free the session; the evaluator cannot be used afterwards."""
        self._calls.clear()
        if self._session is not None:
            self._session.close()
            self._session = None

    def run(
        self,
        wanted: Sequence[str],
        coords: np.ndarray,
        cells: np.ndarray | None,
        types: np.ndarray,
        natoms: np.ndarray,
        parameters: Sequence[np.ndarray] = (),
    ) -> dict[str, np.ndarray]:
        """Evaluate frames of the same atoms.

        Parameters
        ----------
        wanted
            Names of members of :class:`~deepmd_tf.model.ModelOutputs`.
        coords
            [n_frames, n_atoms, 3], angstrom, atoms sorted by type.
        cells
            [n_frames, 9] or None.
        types
            int32 [n_atoms], ascending.
        natoms
            int32 [2 + n_types].
        parameters
            Frame parameters [n_frames, dim] of a model that has them, then atomic ones
            [n_frames, n_atoms, dim].

        Returns
        -------
        dict
            The wanted arrays, and the diagnostics ``dropped``, ``max_found`` and, where there is a
            table, ``outside`` (see :class:`~deepmd_tf.environment.Environment`).

        Raises
        ------
        FrameError
            When a frame cannot be evaluated, as one with two atoms in the same place.
        MemoryError
            When there are too many atoms or pairs for one call.
        ModelFileError
            When a graph that is run as it is in its file cannot be evaluated.
        """
        values = self._values(coords, cells, types, natoms, parameters)
        return self._run(self._call(tuple(wanted)), values)

    def run_hessian(
        self,
        directions: np.ndarray,
        coords: np.ndarray,
        cells: np.ndarray | None,
        types: np.ndarray,
        natoms: np.ndarray,
        parameters: Sequence[np.ndarray] = (),
    ) -> dict[str, np.ndarray]:
        """Hessian times a vector in each frame; frames and exceptions as those of :meth:`run`.

        What this takes is added to the graph by the first call.

        Parameters
        ----------
        directions
            [n_frames, n_atoms, 3]: one vector for each frame. For several vectors, give the frame
            as often.

        Returns
        -------
        dict
            :data:`HESSIAN_VECTOR`, [n_frames, 3 n_atoms], eV/Å² times the unit of the vectors, and
            the diagnostics.
        """
        call = self._hessian_call()
        values = self._values(coords, cells, types, natoms, parameters)
        return self._run(call, [*values, np.ascontiguousarray(directions, self.dtype).reshape(-1)])

    def _values(
        self,
        coords: np.ndarray,
        cells: np.ndarray | None,
        types: np.ndarray,
        natoms: np.ndarray,
        parameters: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """Values to feed, in the order of the placeholders."""
        n_frames = len(coords)
        # The box is not looked at without periodicity, but it must have its size.
        box = np.tile(np.eye(3).reshape(9), n_frames) if cells is None else cells
        return [
            np.ascontiguousarray(coords, self.dtype).reshape(-1),
            np.tile(types, n_frames),
            natoms,
            np.ascontiguousarray(box, self.dtype).reshape(-1),
            FREE_MESH if cells is None else PERIODIC_MESH,
            *(np.ascontiguousarray(values, self.dtype).reshape(-1) for values in parameters),
        ]

    def _run(self, call: Call, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        names_of_values, run = call
        try:
            found = run(*values)
        except tf.errors.InvalidArgumentError as error:
            # the traceback of the graph says nothing to a user
            raise translate(error) from None
        return dict(zip(names_of_values, found, strict=True))

    def _call(self, wanted: tuple[str, ...]) -> Call:
        if wanted not in self._calls:
            fetches = {name: getattr(self._outputs, name) for name in wanted}
            self._calls[wanted] = self._make_call(fetches, self._feeds)
        return self._calls[wanted]

    def _hessian_call(self) -> Call:
        wanted = (HESSIAN_VECTOR,)
        if wanted not in self._calls:
            with self._opened().graph.as_default():
                directions = tf.placeholder(tf.as_dtype(self.dtype), [None])
                product = hessian_vector_product(self._outputs, directions)
            fetches = {HESSIAN_VECTOR: product}
            self._calls[wanted] = self._make_call(fetches, [*self._feeds, directions])
        return self._calls[wanted]

    def _make_call(self, fetches: dict[str, tf.Tensor], feeds: list[tf.Tensor]) -> Call:
        fetches = fetches | self._outputs.diagnostics
        call = make_callable(self._opened(), list(fetches.values()), feeds)
        return list(fetches), call

    def _opened(self) -> tf.Session:
        if self._session is None:
            raise ModelFileError(f"{self.model.path}: the model has been closed")
        return self._session


def _is_type_embedding(name: str) -> bool:
    """Whether a node is that of the model, in whichever scope its graph is."""
    return name.rpartition("/")[2] == names.T_TYPEEBD


class NativeEvaluator(Evaluator):
    """Runs the native graph of a model.

    Parameters
    ----------
    model
        Weights and description.
    use_table
        Whether embedding nets are interpolated. A table ends at half of the smallest distance in
        the training data; without one any distance is evaluated exactly, several times slower. A
        model whose nets no table represents accurately is evaluated without one in any case.
    """

    def __init__(self, model: SavedModel, use_table: bool = True) -> None:
        super().__init__(model)
        self.model: SavedModel = model
        self.use_table = use_table

    def build(self) -> None:
        """Build the graph and open the session.

        Raises
        ------
        ModelFileError
            When a weight is missing or does not fit the input script of the model.
        """
        with tf.Graph().as_default() as graph:
            built = self.model.build("native", use_table=self.use_table)
            self._dim_descriptor = built.model.dim_descriptor
            self._outputs = built.outputs
            self._feeds = list(built.outputs.inputs.placeholders.values())
            self._session = open_session(graph=graph, config=session_config())

    @property
    def dim_descriptor(self) -> int:
        """Length of the descriptor of an atom."""
        return self._dim_descriptor
