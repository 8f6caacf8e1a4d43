# SPDX-License-Identifier: BSD-3-Clause
"""Evaluation of a trained model of any kind."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf.data import Batch, DataSystem
from deepmd_tf.elements import names_of_types
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.fields import Field
from deepmd_tf.graph.frozen import open_model, require_weights
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.graph.summary import observed_types, parameter_counts
from deepmd_tf.inference.batches import evaluate
from deepmd_tf.inference.batching import DEFAULT_ATOMS, BatchSize
from deepmd_tf.inference.frames import Frames, Group, Signature, group_frames
from deepmd_tf.inference.missing import missing_rule
from deepmd_tf.inference.runner import FrameRunner
from deepmd_tf.inference.spins import require_spins
from deepmd_tf.log import told_if_slow
from deepmd_tf.model.kinds import ATOMS, MODEL_KINDS, Kind, Output
from deepmd_tf.parallel import Ranks

log = logging.getLogger(__name__)

DESCRIPTOR_TYPES = {"fp32": np.float32, "fp64": np.float64, "native": None}
"""Names of types of results; None is that of the model."""

UNUSED = {
    "load_prefix": "load",
    "default_tf_graph": False,
    "input_map": None,
    "head": None,
    "nlist_backend": "auto",
    "no_jit": False,
    "skip_modifier": False,
}
"""Keywords of DeePMD-kit without an effect here, with the values that ask for nothing."""

D = TypeVar("D", bound="DeepEval")


class DeepEval:
    """A trained model: opened, asked for what it is, evaluated in batches.

    The file is read as data, and its weights are evaluated by this package's own ops, whichever
    program wrote it. A compressed model has no weights: its graph is checked and then run as it is,
    with the interface precision that it was made with. The object holds one TensorFlow session;
    close it with :meth:`close` or by using it in a ``with`` statement.

    A class for a kind of model sets :attr:`kind` and adds ``eval``, which calls
    :meth:`evaluate`.

    Parameters
    ----------
    model_file
        Frozen graph (``.pb``) of this package or of stock DeePMD-kit, or a checkpoint: its prefix
        or its directory; or what :func:`deepmd_tf.graph.frozen.open_model` made of it.
    auto_batch_size
        True: about 1024 atoms are evaluated at once (``DP_INFER_BATCH_SIZE`` says otherwise); a
        number: that many atoms; False: all frames at once. Halved where that is too much. An object
        of DeePMD-kit with the number in ``current_batch_size`` will do.
    neighbor_list
        Accepted for compatibility; only None.
    on_missing_neighbors
        What to do where an atom has more neighbours within the cutoff than ``sel``, of which the
        model sees the nearest only: "warn" (once, and again when it gets worse), "error" (the
        evaluation fails and names a frame) or "ignore". None: what the environment variable
        ``DP_ON_MISSING_NEIGHBORS`` says, or else "warn".
    **others
        Keywords of DeePMD-kit that have no effect here, :data:`UNUSED`; values that ask for
        something are told in a warning.

    Attributes
    ----------
    kind
        The kind of the model; of the class, the usual one of those that it evaluates.

    Raises
    ------
    ModelFileError
        When the file is no complete model of that kind.
    InputError
        When ``on_missing_neighbors`` is none of these, ``auto_batch_size`` is no number, or there
        is no such keyword.
    """

    kind: Kind

    def __init__(
        self,
        model_file: str | os.PathLike[str] | SavedModel | ImportedModel,
        auto_batch_size: bool | int = True,
        neighbor_list: None = None,
        *,
        on_missing_neighbors: str | None = None,
        **others: Any,
    ) -> None:
        _tell_unused(others)
        rule = missing_rule(on_missing_neighbors)
        if neighbor_list is not None:
            raise InputError("neighbor_list: lists made elsewhere are not taken; leave it out")
        if isinstance(model_file, SavedModel | ImportedModel):
            model = model_file
        else:
            with told_if_slow(log, f"reading {model_file}"):
                model = open_model(model_file)
        kind = MODEL_KINDS[model.model_type]
        if kind.evaluator != self.kind.evaluator:
            raise ModelFileError(
                f'{model.path}: the model predicts "{model.model_type}"; open it with '
                f"{kind.evaluator}"
            )
        self.kind = kind
        self._batch = BatchSize(_atoms_at_once(auto_batch_size))
        self._model = model
        self._runner = FrameRunner(model, rule)
        known = names_of_types(model.type_map, model.ntypes)
        self._signature = Signature(model.ntypes, known, model.parameter_inputs, model.rcut)

        # what is wrong with the file is told here, not by the first evaluation
        with told_if_slow(log, f"preparing {model.path}"):
            _ = self._runner.evaluator

    def __getstate__(self) -> dict[str, Any]:
        # the kind has functions that cannot be sent to another process
        return {key: value for key, value in self.__dict__.items() if key != "kind"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.kind = MODEL_KINDS[self._model.model_type]

    def close(self) -> None:
        """Free the session."""
        self._runner.close()

    def __enter__(self: D) -> D:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def frames(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        *,
        pbc: ArrayLike | None = None,
        **others: Any,
    ) -> Frames:
        """Arguments of an evaluation, checked and brought to one shape.

        Parameters
        ----------
        coords, cells, atom_types, fparam, aparam, mixed_type, pbc
            See :meth:`Signature.frames <deepmd_tf.inference.frames.Signature.frames>`.
        others
            Arguments that other kinds of models have; only None.
        """
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise InputError(
                f"{', '.join(given)}: not an argument of {self.kind.words} of this package"
            )
        frames = self._signature.frames(coords, cells, atom_types, fparam, aparam, mixed_type, pbc)
        if virtual := self._model.virtual_types:
            require_spins(frames, self._model.ntypes - virtual, self._signature.type_map)
        return frames

    def evaluate(self, frames: Frames, outputs: Sequence[Output]) -> dict[str, np.ndarray]:
        """Outputs of the model for all frames: [n_frames, ...] as their shapes say, atoms in the
        order of ``frames``; virtual atoms have zeros. They are float64, also of models that compute
        with float32, so that who adds to them does not lose digits.
        """
        outputs = [output.with_points(self.points) for output in outputs]
        results = {
            output.name: np.zeros((frames.n_frames, *output.of_frame(frames.n_atoms)))
            for output in outputs
        }
        for group in group_frames(frames):
            if len(group.order):
                self._evaluate_group(frames, group, outputs, results)
        return results

    @property
    def points(self) -> int:
        """Energies of a density of states; 0 in other models."""
        return 0

    def compared(self, *, atomic: bool, hessian: bool | None) -> list[Field]:
        """Data items that ``dp test`` compares predictions with, see
        :func:`~deepmd_tf.inference.testing.run_test`.

        Parameters
        ----------
        atomic
            Whether shares of atoms are compared, where there are labels for them.
        hessian
            Whether Hessians are.

        Raises
        ------
        InputError
            If they are, but are not of the kind.
        """
        if hessian:
            raise InputError(f"{self._model.path}: Hessians are not what {self.kind.words} gives")
        return list(self.kind.labelled(parts=atomic))

    def predict(
        self, data: DataSystem, batch: Batch, *, atomic: bool = False
    ) -> dict[str, np.ndarray]:
        """What the model gives for frames of a system, by the name of the data item that it is
        compared with.

        Raises
        ------
        DataError
            When a frame cannot be evaluated; the message names file and frame.
        """
        labelled = self.kind.labelled(parts=atomic)
        found = evaluate(
            lambda *given, **named: self.evaluate(
                self.frames(*given, **named), [*labelled.values()]
            ),
            data,
            batch,
        )
        return {label.name: found[output.name] for label, output in labelled.items()}

    def _evaluate_group(
        self,
        frames: Frames,
        group: Group,
        outputs: Sequence[Output],
        results: dict[str, np.ndarray],
    ) -> None:
        wanted = tuple(results)

        def evaluate(part: slice) -> None:
            chosen = group.frames[part]
            values = self._runner.run(
                frames, group, chosen, lambda evaluator, *given: evaluator.run(wanted, *given)
            )
            for output in outputs:
                output.store(values[output.name], results[output.name], chosen, group.order)

        self._batch.run(len(group.frames), len(group.order), evaluate)

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

        Arguments as those of :meth:`frames`; ``dtype`` is the type of the result, "fp32", "fp64" or
        "native", that of forces.

        Raises
        ------
        InputError
            As :meth:`frames`, and for a model of fragments, which has no such thing.
        """
        if dtype not in DESCRIPTOR_TYPES:
            raise InputError(f'dtype "{dtype}": expected one of {", ".join(DESCRIPTOR_TYPES)}')
        if not self.dim_descriptor:
            raise InputError(
                f"{self._model.path}: an atom of this model has another descriptor in each "
                "fragment that it is looked at with, and none of its own"
            )
        frames = self.frames(coords, cells, atom_types, fparam, aparam, mixed_type, **kwargs)
        output = Output("descriptor", (ATOMS, self.dim_descriptor))
        found = self.evaluate(frames, [output])["descriptor"]
        return found.astype(DESCRIPTOR_TYPES[dtype] or self.dtype, copy=False)

    def eval_typeebd(self) -> np.ndarray:
        """The type embedding: the vector of each type of atom, [ntypes, width]; of descriptors that
        need one for empty slots [ntypes + 1, width], with a last row of zeros.

        Raises
        ------
        KeyError
            When the model has none.
        """
        found = self._runner.evaluator.type_embedding()
        if found is None:
            # as in DeePMD-kit, so that callers who ask any model can tell
            raise KeyError(f"{self._model.path}: the model has no type embedding")
        return found

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
        return self._model.parameter_inputs.dim_fparam

    def get_dim_aparam(self) -> int:
        """Number of parameters of an atom."""
        return self._model.parameter_inputs.dim_aparam

    def has_default_fparam(self) -> bool:
        """Whether frame parameters may be left out."""
        return self.get_default_fparam() is not None

    def get_default_fparam(self) -> list[float] | None:
        """Frame parameters of frames that are given none; None: they must be given."""
        default = self._model.parameter_inputs.default_fparam
        return None if default is None else list(default)

    @property
    def dtype(self) -> np.dtype:
        """Type that forces, virials and descriptors are computed with: float64 or float32."""
        return self._runner.evaluator.dtype

    @property
    def dim_descriptor(self) -> int:
        """Numbers in the descriptor of an atom."""
        return self._runner.evaluator.dim_descriptor

    def get_model_size(self) -> dict[str, int]:
        """Numbers of weights: "descriptor", "fitting-net", "total"."""
        return parameter_counts(require_weights(self._model))

    def get_observed_types(self) -> dict[str, Any]:
        """Types that were in the training data: "type_num" of them, names in "observed_type"."""
        found = observed_types(require_weights(self._model))
        return {"type_num": len(found), "observed_type": found}

    @property
    def missing_neighbors(self) -> str:
        """Where atoms had more neighbours than ``sel`` in what was evaluated so far: the largest
        numbers by type, as "O: 5, sel is 3"; empty if none had."""
        return self._runner.missing.describe()

    def share_missing(self, ranks: Ranks) -> None:
        """Count in :attr:`missing_neighbors` what the same model had on other ranks."""
        for most in ranks.objects(self._runner.missing.most):
            self._runner.missing.join(most)

    @property
    def model_path(self) -> Path:
        """The frozen file, or the prefix of the checkpoint."""
        return Path(self._model.path)

    def get_model_def_script(self) -> dict[str, Any]:
        """Section ``model`` of the input script, with all defaults."""
        return self._model.model_script


def _tell_unused(given: Mapping[str, Any]) -> None:
    unknown = sorted(set(given) - set(UNUSED))
    if unknown:
        raise InputError(f"{', '.join(unknown)}: not a keyword of models of this package")
    asked = [f"{key}={value!r}" for key, value in given.items() if value != UNUSED[key]]
    if asked:
        log.warning(
            "%s: without effect here, where a model has a graph of its own, one head, and the "
            "neighbour list of this package",
            ", ".join(asked),
        )


def _atoms_at_once(size: Any) -> int | None:
    """What ``auto_batch_size`` means; None: no limit."""
    if isinstance(size, bool | np.bool_):
        return DEFAULT_ATOMS if size else None
    size = getattr(size, "current_batch_size", size)
    if not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"auto_batch_size is {size!r}; expected True, False or a number of atoms")
    return int(size)
