# SPDX-License-Identifier: BSD-3-Clause
"""The static graph that is trained, and the session that runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import fields, names, ops
from deepmd_tf.config import Config
from deepmd_tf.data import Batch
from deepmd_tf.environment import ModelInputs
from deepmd_tf.fields import HESSIAN, Field
from deepmd_tf.graph.attributes import add_attributes
from deepmd_tf.graph.checkpoint import OUTPUT_IDENTITY, Checkpoints
from deepmd_tf.graph.session import make_callable, session_config
from deepmd_tf.losses import EnergyLoss, MixedFrames
from deepmd_tf.model.energy import EnergyModel, ModelOutputs, Statistics
from deepmd_tf.model.hessian import (
    full_hessian,
    hessian_vector_product,
    hessian_vector_products,
)
from deepmd_tf.nn.parameters import VariableParameters
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.nn.table import TableReport
from deepmd_tf.training.blocks import HessianBlocks, fits_at_once
from deepmd_tf.training.hessian import Directions, HessianPlan
from deepmd_tf.training.optimizer import NOT_FINITE, Adam

PREDICTED = ("energy", "force", "virial")
"""Outputs of the model that can be compared with labels of the same name."""


class Diagnostics(NamedTuple):
    """How well the data of a batch fit the model.

    Attributes
    ----------
    dropped
        int64 [ntypes], neighbours of each type that were beyond ``sel``.
    max_found
        int64 [ntypes], largest number of neighbours of a type around one atom.
    outside
        Pairs closer than the embedding table reaches.
    """

    dropped: np.ndarray
    max_found: np.ndarray
    outside: int

    def join(self, other: Diagnostics) -> Diagnostics:
        """Those of two batches together."""
        return Diagnostics(
            self.dropped + other.dropped,
            np.maximum(self.max_found, other.max_found),
            max(self.outside, other.outside),
        )


class NotFinite(Exception):
    """Loss or gradient of a batch is not finite; nothing was changed.

    Attributes
    ----------
    loss
        Σ_k weight_k · objective_k.
    weights
        Names of the variables whose gradient, or its square, is not finite.
    """

    def __init__(self, loss: float, weights: Sequence[str]) -> None:
        super().__init__(NOT_FINITE)
        self.loss = loss
        self.weights = tuple(weights)


class TrainingGraph:
    """Model, loss and optimizer as one static graph.

    Nothing but the batch, the weights of the loss terms and the learning rate is fed in a step, and
    nothing but the :class:`Diagnostics` is fetched.

    Parameters
    ----------
    config
        The input script, ``sel`` resolved.
    model, loss
        What is trained, and on what.
    min_nbor_dist
        Smallest distance in the training data, Å; None if it was not measured.
    type_map
        Names of the types; by default those of the input script.
    hessians
        How Hessians are trained on; needed if the loss has them.
    mixed
        Whether the frames of a batch may have different atoms.
    """

    def __init__(
        self,
        config: Config,
        model: EnergyModel,
        loss: EnergyLoss,
        *,
        min_nbor_dist: float | None,
        type_map: Sequence[str] | None = None,
        hessians: HessianPlan | None = None,
        mixed: bool = False,
    ) -> None:
        self.config = config
        self.mixed = mixed
        self.hessians = hessians
        self.directions: Directions | None = None
        if hessians is not None and hessians.mode.rule != "full":
            self.directions = Directions(hessians.mode, config.training.seed)
        self.type_map = tuple(type_map or config.model.type_map or ())
        self.model = model
        self.loss = loss
        self.min_nbor_dist = min_nbor_dist
        self._items = config.model.fitting_net.data_items
        self.checkpoints = Checkpoints(config.training.save_ckpt, config.training.max_ckpt_keep)
        self.session: tf.Session | None = None
        self._evaluated: Diagnostics | None = None
        self._trace: tf.RunMetadata | None = None

    def build(
        self,
        statistics: Statistics | None,
        initial: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Build the graph.

        Parameters
        ----------
        statistics
            First values of averages and biases; None when they come from elsewhere.
        initial
            First values of variables by name, in place of random ones.
        """
        self.graph = tf.Graph()
        with self.graph.as_default():
            dtype = interface_dtype()
            inputs = self.model.make_inputs(dtype, mixed=self.mixed)
            self._parameters = VariableParameters(initial)
            outputs = self.model.build(inputs, self._parameters, "native", statistics)
            self._add_attributes(dtype)
            self._labels = {f.name: _label_placeholder(f, dtype) for f in self.loss.labels}
            self._weights = tf.placeholder(
                tf.float64, [len(self.loss.terms)], name="t_loss_weights"
            )
            self._lr = tf.placeholder(tf.float32, [], name="t_learning_rate")
            frames = self._mixed_frames(inputs) if self.mixed else None
            self._make_optimizer()
            if self.hessians is None:
                loss = self.loss.build(outputs, self._labels, self._weights, mixed=frames)
                train, self._checked = self._minimise(loss.total)
                self._values = loss.values
            else:
                train = self._add_hessians(outputs)
            self._table = outputs.table
            self._watched = self._watch(outputs.diagnostics)
            self.checkpoints.build(
                tf.global_variables(), _output_identity(self.model.ntypes, dtype), self._describe
            )
            self._initialise = tf.group(
                tf.global_variables_initializer(), tf.local_variables_initializer()
            )
            self._local = {v.op.name: v for v in tf.local_variables()}
            labels = {k: v for k, v in self._labels.items() if k != HESSIAN.name}
            self._fed = [*inputs.placeholders.values(), *labels.values()]
            if frames is not None:
                self._fed.append(frames.found)
            self._train_fetches = [train, self._watched]
            self._outputs = {name: getattr(outputs, name) for name in PREDICTED}
            if fields.ATOM_ENER_COEFF in self.loss.labels:
                self._outputs["atom_ener"] = outputs.atom_energy
        self.graph.finalize()

    def open(self) -> None:
        """Start the session, with all variables at their first values."""
        self.session = tf.Session(graph=self.graph, config=session_config(repeatable=True))
        self.session.run(self._initialise)
        self._callables: dict[Any, Any] = {}

    def close(self) -> None:
        """End the session."""
        if self.session is not None:
            self.session.close()

    def train(self, batch: Batch, lr: np.float32) -> Diagnostics:
        """One step of the optimizer at learning rate ``lr``.

        Raises
        ------
        NotFinite
            If loss or gradient is not finite; no variable has changed then.
        """
        if self._in_blocks(batch):
            return self._train_in_blocks(batch, lr)[0]
        fetches, fed, values = self._step(batch, lr)
        with self._finite(lambda: self._look_closer(batch, fed, values)):
            _, watched = self._run("train", fetches, fed, values)
        return self._diagnostics(watched)

    def train_and_measure(
        self, batch: Batch, lr: np.float32
    ) -> tuple[Diagnostics, dict[str, float]]:
        """One step, and the errors on its batch before the update.

        They are those of :meth:`evaluate`, but the Hessian's, which is what the step has seen of
        it.
        """
        if self._in_blocks(batch):
            diagnostics, errors = self._train_in_blocks(batch, lr)
        else:
            fetches, fed, values = self._step(batch, lr)
            measured = self._values_with_hessian if self._labelled(batch) else self._values
            with self._finite(lambda: self._look_closer(batch, fed, values)):
                _, watched, errors = self._run("measure", [*fetches, measured], fed, values)
            diagnostics = self._diagnostics(watched)
        return diagnostics, self.loss.displayed(errors, self._loss_weights(batch, lr), batch)

    def train_and_trace(self, batch: Batch, lr: np.float32) -> tuple[Diagnostics, tf.RunMetadata]:
        """One step, and when each operation ran."""
        self._trace = tf.RunMetadata()
        try:
            return self.train(batch, lr), self._trace
        finally:
            self._trace = None

    def evaluate(self, batch: Batch, lr: np.float32) -> dict[str, float]:
        """Errors on a batch with the present weights, by column; the loss is that at ``lr``.

        That of the Hessian is over all elements, whatever training looks at.
        """
        weights = self._loss_weights(batch, lr)
        return self.loss.displayed(self._measure(batch), weights, batch)

    def predict(self, batch: Batch) -> dict[str, np.ndarray]:
        """Energies [nf], forces [nf, 3 nat] and virials [nf, 9] with the present weights.

        With ``enable_atom_ener_coeff`` energies of atoms, ``atom_ener`` [nf, nat], too.
        """
        fetches = list(self._outputs.values())
        found = self._look("predict", fetches, self._fed, self._feed(batch))
        return dict(zip(self._outputs, found, strict=True))

    def take_evaluated(self) -> Diagnostics | None:
        """What :meth:`evaluate` and :meth:`predict` have found since the last call."""
        found, self._evaluated = self._evaluated, None
        return found

    def get_bias(self) -> np.ndarray:
        """Energy bias of each type, eV, float64 [ntypes]."""
        variable = self._parameters.variables[names.BIAS_ATOM_E]
        return self.session.run(variable).astype(np.float64)

    def set_bias(self, bias: np.ndarray) -> None:
        """Set the energy bias of each type, eV."""
        self._assign([(self._parameters.variables[names.BIAS_ATOM_E], bias)])

    def refresh_table(self) -> TableReport | None:
        """Fit the embedding table to the present weights; None if there is no table."""
        return None if self._table is None else self._table.refresh(self.session)

    def parameter_count(self) -> tuple[int, int]:
        """Numbers that are trained, and all numbers of the model."""
        counts = [
            (int(np.prod(v.shape.as_list())), v.trainable)
            for v in self._parameters.variables.values()
        ]
        return sum(n for n, trainable in counts if trainable), sum(n for n, _ in counts)

    def set_step(self, step: int) -> None:
        """Set the step counter that checkpoints carry."""
        self._assign([(self._step_counter, np.int64(step))])

    def get_step(self) -> int:
        """Steps done, as in the checkpoint."""
        return int(self.session.run(self._step_counter))

    def get_state(self) -> dict[str, np.ndarray]:
        """Values of the variables that are not in checkpoints, by name."""
        return self.session.run(self._local)

    def set_state(self, state: Mapping[str, Any]) -> bool:
        """Set what :meth:`get_state` gave; False, and nothing is set, if it does not fit."""
        if set(state) != set(self._local):
            return False
        arrays = {name: np.asarray(state[name]) for name in self._local}
        if any(arrays[name].shape != tuple(v.shape.as_list()) for name, v in self._local.items()):
            return False
        self._assign([(variable, arrays[name]) for name, variable in self._local.items()])
        return True

    def _run(self, name: str, fetches: Any, fed: list[tf.Tensor], values: list[Any]) -> Any:
        """Run, with a callable that is made once for each name and number of feeds."""
        if self._trace is not None:
            options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
            record, feed = tf.RunMetadata(), dict(zip(fed, values, strict=True))
            found = self.session.run(fetches, feed, options=options, run_metadata=record)
            self._trace.MergeFrom(record)
            return found
        key = (name, len(fed))
        if key not in self._callables:
            self._callables[key] = make_callable(self.session, fetches, fed)
        return self._callables[key](*values)

    def _look(self, name: str, fetches: Any, fed: list[tf.Tensor], values: list[Any]) -> Any:
        """Run, and keep the diagnostics for :meth:`take_evaluated`."""
        found, watched = self._run(name, [fetches, self._watched], fed, values)
        diagnostics = self._diagnostics(watched)
        before, self._evaluated = self._evaluated, diagnostics
        if before is not None:
            self._evaluated = diagnostics.join(before)
        return found

    def _labelled(self, batch: Batch) -> bool:
        """Whether the batch has Hessians that are trained on."""
        return self.hessians is not None and bool(batch.arrays[HESSIAN.find_key])

    def _step(self, batch: Batch, lr: np.float32) -> tuple[list[Any], list[tf.Tensor], list[Any]]:
        """Fetches, placeholders and their values of a step."""
        fetches, fed = self._train_fetches, [*self._fed, self._weights, self._lr]
        values = [*self._feed(batch), self._loss_weights(batch, lr), lr]
        if self._labelled(batch):
            fetches = [self._train_on_hessian, *fetches[1:]]
            fed.append(self._labels[HESSIAN.name])
            values.append(batch.arrays[HESSIAN.name].reshape(-1))
            if self.directions is not None:
                fed.append(self._directions)
                values.append(self.directions.draw(batch.nframes, int(batch.natoms[0])))
        return fetches, fed, values

    @contextmanager
    def _finite(self, look: Callable[[], tuple[float, Sequence[Any]]]) -> Iterator[None]:
        """Turns what the step's own check says into :class:`NotFinite`.

        ``look`` gives the loss, and the gradient in each trained variable.
        """
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            if NOT_FINITE not in error.message:
                raise
            loss, gradients = look()
            with np.errstate(all="ignore"):
                finite = [bool(np.isfinite(np.square(g).sum())) for g in gradients]
            variables = zip(self._parameters.trainable, finite, strict=True)
            raise NotFinite(float(loss), [v.op.name for v, good in variables if not good]) from None

    def _look_closer(
        self, batch: Batch, fed: list[tf.Tensor], values: list[Any]
    ) -> tuple[float, list[Any]]:
        """Loss and gradients of a step."""
        fetches = self._checked_with_hessian if self._labelled(batch) else self._checked
        loss, *gradients = self.session.run(fetches, dict(zip(fed, values, strict=True)))
        return loss, gradients

    def _measure(self, batch: Batch) -> np.ndarray:
        """:attr:`LossTensors.values` of a batch."""
        fed, values = self._fed, self._feed(batch)
        if not self._labelled(batch):
            return self._look("values", self._values, fed, values)
        label = batch.arrays[HESSIAN.name]
        if self.hessians.mode.rule == "full" and not self._in_blocks(batch):
            fed = [*fed, self._labels[HESSIAN.name]]
            values.append(label.reshape(-1))
            return self._look("values", self._values_with_hessian, fed, values)
        result = self._look("values", self._values, fed, values)
        result[:, self.loss.hessian], _ = self._blocks.measure(*self._frames(batch), label)
        return result

    def _in_blocks(self, batch: Batch) -> bool:
        """Whether whole Hessians of the batch are to be trained on that are too large to be built
        at once.
        """
        full = self._labelled(batch) and self.hessians.mode.rule == "full"
        return full and not fits_at_once(batch.nframes, int(batch.natoms[0]))

    def _frames(self, batch: Batch) -> tuple[list[list[np.ndarray]], int]:
        """Values of the inputs of each frame of a batch, and its number of atoms."""
        read = ("coord", "type", "box", *(item.name for item in self._items))
        return [
            self._feed_inputs(
                dataclasses.replace(batch, arrays={n: batch.arrays[n][[k]] for n in read})
            )
            for k in range(batch.nframes)
        ], int(batch.natoms[0])

    def _train_in_blocks(self, batch: Batch, lr: np.float32) -> tuple[Diagnostics, np.ndarray]:
        """A step on whole Hessians, and :attr:`LossTensors.values` of the batch."""
        weights, hessian = self._loss_weights(batch, lr), self.loss.hessian
        fed, values = [*self._fed, self._weights], [*self._feed(batch), weights]
        fetches = [self._gradients, self._values, self._watched]
        total, errors, watched = self._run("gradients", fetches, fed, values)
        frames, natoms = self._frames(batch)
        label = batch.arrays[HESSIAN.name]
        errors[:, hessian], adjoint = self._blocks.measure(frames, natoms, label)
        adjoint = adjoint * adjoint.dtype.type(weights[hessian])
        for part in self._blocks.gradients(frames, natoms, adjoint):
            total = [a if b is None else a + b for a, b in zip(total, part, strict=True)]
        loss = weights @ errors[0]
        fed = [self._summed_loss, *self._summed, self._lr]
        with self._finite(lambda: (loss, total)):
            self._run("apply", self._apply, fed, [loss, *total, lr])
        return self._diagnostics(watched), errors

    def _loss_weights(self, batch: Batch, lr: np.float32) -> np.ndarray:
        start_lr = self.config.learning_rate.start_lr
        return self.loss.weights(lr, start_lr, batch)

    def _diagnostics(self, watched: np.ndarray) -> Diagnostics:
        ntypes = self.model.ntypes
        return Diagnostics(watched[:ntypes], watched[ntypes:-1], watched[-1])

    def _add_attributes(self, dtype: tf.DType) -> None:
        add_attributes(
            self.config.model,
            self.config.to_dict(stored=True),
            type_map=self.type_map,
            min_nbor_dist=self.min_nbor_dist,
            interface_dtype=dtype,
            original_sel=self.model.descriptor.original_sel,
        )

    def _describe(self) -> tf.MetaGraphDef:
        """The model in the stock dialect: programs of DeePMD-kit freeze what they find in a
        checkpoint, and do not know our operations.
        """
        with tf.Graph().as_default():
            dtype = interface_dtype()
            inputs = self.model.make_inputs(dtype)
            self.model.build(inputs, VariableParameters(), self.model.exchange_dialect)
            self._add_attributes(dtype)
            _output_identity(self.model.ntypes, dtype)
            return tf.train.Saver().export_meta_graph(clear_devices=True, strip_default_attrs=True)

    def _mixed_frames(self, inputs: ModelInputs) -> MixedFrames:
        """How the frames of a batch differ."""
        sizes = tf.reduce_sum(tf.cast(inputs.type >= 0, tf.float64), axis=1)
        found = tf.placeholder(tf.float64, [len(self.loss.terms), None], name="t_found")
        return MixedFrames(tf.cast(inputs.n_loc, tf.float64) / sizes, found)

    def _add_hessians(self, outputs: ModelOutputs) -> tf.Operation:
        """Losses with and without the Hessian, so that batches without its label do not pay.

        Returns the step on such batches.
        """
        self._blocks = HessianBlocks(
            self.model,
            outputs,
            self._parameters,
            self.loss.terms[self.loss.hessian],
            self._labels,
            self._run,
            with_gradient=self.hessians.in_blocks,
        )
        if self.directions is None:
            matrix = full_hessian(self.model, outputs, self._parameters)
            seen = dataclasses.replace(outputs, hessian=matrix)
        else:
            shape = [None, None, None]
            self._directions = tf.placeholder(outputs.inputs.dtype, shape, name="t_directions")
            if self.hessians.mode.count > 1:
                products = hessian_vector_products(
                    self.model, outputs, self._parameters, self._directions
                )
            else:
                products = hessian_vector_product(outputs, self._directions)[:, None]
            seen = dataclasses.replace(outputs, hessian=products, directions=self._directions)
        loss = self.loss.build(seen, self._labels, self._weights)
        self._values_with_hessian = loss.values
        self._train_on_hessian, self._checked_with_hessian = self._minimise(loss.total)

        loss = self.loss.build(outputs, self._labels, self._weights, without=("h",))
        self._values = loss.values
        # the energy, for a loss that has no other term
        without = loss.total + 0.0 * tf.reduce_sum(outputs.energy)
        if self.hessians.in_blocks:
            variables = self._parameters.trainable
            self._gradients = [
                tf.zeros_like(variable) if gradient is None else gradient
                for variable, gradient in zip(variables, self._compute(without), strict=True)
            ]
            self._summed = [tf.placeholder(v.dtype.base_dtype, v.shape) for v in variables]
            self._summed_loss = tf.placeholder(tf.float64, [])
            self._apply = self._adam.step(
                self._summed_loss, self._summed, variables, self._step_counter
            )
        if self.hessians.everywhere:
            return self._train_on_hessian
        train, self._checked = self._minimise(without)
        return train

    def _make_optimizer(self) -> None:
        optimizer = self.config.optimizer
        self._adam = Adam(self._lr, optimizer.adam_beta1, optimizer.adam_beta2)
        self._step_counter = tf.Variable(
            0,
            name=names.GLOBAL_STEP,
            trainable=False,
            dtype=tf.int64,
            use_resource=False,
            collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.GLOBAL_STEP],
        )

    def _minimise(self, loss: tf.Tensor) -> tuple[tf.Operation, list[tf.Tensor]]:
        """The step, which changes nothing unless loss and gradients are finite, and the loss and
        gradient in each trained variable that say why, should it be so.
        """
        variables, gradients = self._parameters.trainable, ops.join_weights(self._compute(loss))
        step = self._adam.step(loss, gradients, variables, self._step_counter)
        zero = tf.constant(0.0)
        return step, [loss, *(zero if gradient is None else gradient for gradient in gradients)]

    def _compute(self, loss: tf.Tensor) -> list[tf.Tensor | None]:
        """The gradient in each trained variable, None where there is none."""
        return tf.gradients(
            loss,
            self._parameters.trainable,
            # in pairs, see session_config
            aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE,
        )

    def _watch(self, diagnostics: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """:class:`Diagnostics` as one int64 vector."""
        outside = diagnostics.get("outside", tf.constant(0, tf.int64))
        parts = (diagnostics["dropped"], diagnostics["max_found"], tf.reshape(outside, [1]))
        return tf.concat([tf.cast(part, tf.int64) for part in parts], axis=0)

    def _assign(self, values: Sequence[tuple[tf.Variable, Any]]) -> None:
        """Set variables, by their initialisers: the graph is final and has no other node for it."""
        feed = {variable.initializer.inputs[1]: value for variable, value in values}
        self.session.run([variable.initializer for variable, _ in values], feed)

    def _feed_inputs(self, batch: Batch) -> list[np.ndarray]:
        arrays = batch.arrays
        return [
            arrays["coord"].reshape(-1),
            arrays["type"].reshape(-1),
            batch.natoms,
            arrays["box"].reshape(-1),
            batch.mesh,
            *(arrays[item.name].reshape(-1) for item in self._items),
        ]

    def _feed(self, batch: Batch) -> list[np.ndarray]:
        labels = (name for name in self._labels if name != HESSIAN.name)
        return [
            *self._feed_inputs(batch),
            *(batch.arrays[name].reshape(-1) for name in labels),
            *([self.loss.found(batch)] if self.mixed else []),
        ]


def _output_identity(ntypes: int, dtype: tf.DType) -> list[tf.Variable]:
    """What stock checkpoints apply to atomic energies, with the values that change nothing."""
    return [
        tf.Variable(
            np.full((1, ntypes, 1), value, dtype.as_numpy_dtype),
            name=name,
            trainable=False,
            use_resource=False,
        )
        for name, value in OUTPUT_IDENTITY.items()
    ]


def _label_placeholder(field: Field, dtype: tf.DType) -> tf.Tensor:
    dtype = tf.float64 if field.high_precision else dtype
    return tf.placeholder(dtype, [None], name=names.placeholder(field.name))
