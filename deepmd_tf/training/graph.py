# SPDX-License-Identifier: BSD-3-Clause
"""The static graph that is trained: model, loss, steps, evaluation, checkpoints."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import fields, names
from deepmd_tf.config import AnyModelConfig, Config, FittingDos
from deepmd_tf.graph.attributes import add_attributes
from deepmd_tf.graph.checkpoint import OUTPUT_IDENTITY, Checkpoints
from deepmd_tf.losses import TermLoss
from deepmd_tf.model.base import Model
from deepmd_tf.model.energy import ModelOutputs, Statistics
from deepmd_tf.model.kinds import kind_of
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.nn.stored_spline import Spline
from deepmd_tf.nn.variables import DescribedParameters, VariableParameters
from deepmd_tf.training.blocks import TrainedModel
from deepmd_tf.training.diagnostics import pack_diagnostics
from deepmd_tf.training.evaluation import Evaluation
from deepmd_tf.training.feeds import BatchFeeds
from deepmd_tf.training.gradient_step import Optimizer, Reducer, StepBuilder
from deepmd_tf.training.hessian import HessianPlan
from deepmd_tf.training.hessian_training import HessianTraining
from deepmd_tf.training.runner import GraphRunner
from deepmd_tf.training.shares import UNSHARED, Sharing
from deepmd_tf.training.state import TrainingState
from deepmd_tf.training.step import TrainingStep


class TrainingGraph:
    """Model, loss and optimizer as one static graph.

    In a step nothing but the batch, the weights of the loss terms and the learning rate is fed, and
    nothing but :class:`~deepmd_tf.training.diagnostics.Diagnostics` is fetched.

    Parameters
    ----------
    config
        The input script, ``sel`` resolved.
    model, loss
        What is trained, and on what.
    type_map
        Names of the types; by default those of the input script.
    hessians
        How Hessians are trained on; needed if the loss has them.
    mixed
        Whether the frames of a batch may have different atoms.
    reducers
        Turn the gradient of a batch into what is applied; by default it is applied as it is, and
        does not leave the graph.
    sharing
        How ranks share the batches.

    Attributes
    ----------
    checkpoints
        Those of this training.
    runner, step, evaluation, state
        What can be done with the graph once it is built.
    """

    runner: GraphRunner
    step: TrainingStep
    evaluation: Evaluation
    state: TrainingState

    def __init__(
        self,
        config: Config,
        model: Model,
        loss: TermLoss,
        *,
        type_map: Sequence[str] | None = None,
        hessians: HessianPlan | None = None,
        mixed: bool = False,
        reducers: Sequence[Reducer] = (),
        sharing: Sharing = UNSHARED,
    ) -> None:
        self.config = config
        self.model = model
        self.loss = loss
        self.type_map = tuple(type_map or config.model.type_map or ())
        self.hessians = hessians
        self.mixed = mixed
        self.sharing = dataclasses.replace(sharing, before=tuple(reducers))
        self.checkpoints = Checkpoints(config.training.save_ckpt, config.training.max_ckpt_keep)

    def build(
        self,
        statistics: Statistics | Mapping[str, Statistics] | None,
        initial: Mapping[str, np.ndarray] | None = None,
        occurring: Collection[int] | None = None,
        tables: Mapping[str, Spline] | None = None,
    ) -> None:
        """Build the graph.

        Parameters
        ----------
        statistics
            First values of averages and biases; None when they come from elsewhere.
        initial
            First values of variables by name, in place of random ones.
        occurring
            Types of which there are atoms. Nets that only others need are at rest: they are in
            checkpoints, but not in the graph. None: all types.
        tables
            Of a compressed model, by name: they are not trained, and take the place of embedding
            nets.
        """
        runner = self.runner = GraphRunner(tf.Graph())
        with runner.graph.as_default():
            dtype = interface_dtype()
            inputs = self.model.make_inputs(dtype, mixed=self.mixed)
            # With Hessians many gradients meet in one tensor, and would be added in another order.
            rest_of = occurring if self.hessians is None else None
            parameters = VariableParameters(initial, rest_of, tables, stacked=True)
            outputs = self.model.build(inputs, parameters, "native", statistics)
            self._add_attributes(dtype, tables)
            feeds = BatchFeeds.build(
                self.loss,
                inputs,
                start_lr=self.config.learning_rate.start_lr,
                items=self.config.model.data_items,
                mixed=self.mixed,
            )
            counter = self._add_steps(TrainedModel(self.model, outputs, parameters), feeds)
            self.checkpoints.build(
                tf.global_variables(),
                _foreign_variables(self.config.model, dtype),
                functools.partial(self._describe, tables),
                parameters.resting,
                parameters.stacks,
            )
            runner.initialise = tf.group(
                tf.global_variables_initializer(), tf.local_variables_initializer()
            )
            local = {v.op.name: v for v in tf.local_variables()}
            self.state = TrainingState(runner, parameters, counter, local, outputs.atoms.tables)
        runner.graph.finalize()

    def open(self) -> None:
        """Start the session, with all variables at their first values."""
        self.runner.open()

    def close(self) -> None:
        """End the session."""
        self.runner.close()

    @property
    def session(self) -> tf.Session:
        """The session, once it is open."""
        return self.runner.session

    def _add_steps(self, trained: TrainedModel, feeds: BatchFeeds) -> tf.Variable:
        """Add losses, steps and evaluation; returns the step counter."""
        outputs = trained.outputs
        optimizer = Optimizer.build(self.config.optimizer, trained.parameters)
        diagnostics = pack_diagnostics(outputs.diagnostics)
        steps = StepBuilder(optimizer, diagnostics, self.sharing.reducers)
        hessian = None
        if self.hessians is None:
            loss = self.loss.build(outputs, feeds.labels, feeds.weights, mixed=feeds.frames)
            plain = steps.build("plain", loss)
        else:
            seed = self.config.training.seed
            hessian = HessianTraining.build(self.hessians, self.runner, trained, feeds, steps, seed)
            loss = hessian.rest
            plain = hessian.step if self.hessians.everywhere else steps.build("plain", loss)
        self.step = TrainingStep(self.runner, feeds, plain, hessian, self.sharing)
        self.evaluation = Evaluation(
            self.runner,
            feeds,
            loss.values,
            self._predicted(outputs),
            diagnostics,
            hessian,
            None
            if outputs.atoms.tables is None
            else _ExactEvaluation(self, trained.parameters.occurring),
            self.sharing,
        )
        return optimizer.counter

    def _predicted(self, outputs: ModelOutputs) -> dict[str, tf.Tensor]:
        parts = fields.ATOM_ENER_COEFF in self.loss.labels
        labelled = kind_of(self.config.model).labelled(parts=parts)
        return {label.name: getattr(outputs, output.name) for label, output in labelled.items()}

    def _add_attributes(self, dtype: tf.DType, tables: Mapping[str, Spline] | None) -> None:
        add_attributes(
            self.config.model,
            self.config.to_dict(stored=True),
            type_map=self.type_map,
            min_nbor_dist=self.model.min_nbor_dist,
            interface_dtype=dtype,
            original_sel=self.model.original_sel,
            kind=names.KIND_COMPRESSED if tables else names.KIND_ORIGINAL,
        )

    def _describe(self, tables: Mapping[str, Spline] | None) -> tf.MetaGraphDef:
        """The model in the stock dialect: programs of DeePMD-kit freeze what they find in a
        checkpoint, and do not know our operations.
        """
        with tf.Graph().as_default():
            dtype = interface_dtype()
            inputs = self.model.make_inputs(dtype)
            parameters = DescribedParameters(tables)
            kind = kind_of(self.config.model)
            kind.add_nodes(self.model.build(inputs, parameters, self.model.exchange_dialect))
            self._add_attributes(dtype, tables)
            constants = {v.op.name: v for v in _foreign_variables(self.config.model, dtype)}
            saver = tf.train.Saver(parameters.variables | constants)
            return saver.export_meta_graph(clear_devices=True, strip_default_attrs=True)


class _ExactEvaluation:
    """Evaluation by a graph without tables, which is built when it is first needed.

    Parameters
    ----------
    graph
        The graph that is trained.
    occurring
        As for :meth:`TrainingGraph.build`.
    """

    def __init__(self, graph: TrainingGraph, occurring: Collection[int] | None) -> None:
        self._graph = graph
        self._occurring = occurring
        self._copy: TrainingGraph | None = None

    def __call__(self) -> Evaluation:
        """Evaluates batches with the present weights of the training."""
        trained = self._graph
        weights = trained.state.get_variables()
        if self._copy is None:
            self._copy = type(trained)(
                trained.config,
                trained.model.without_tables(),
                trained.loss,
                type_map=trained.type_map,
                hessians=trained.hessians,
                mixed=trained.mixed,
            )
            self._copy.build(None, weights, self._occurring)
            self._copy.open()
        self._copy.state.set_variables(weights)
        return self._copy.evaluation


def _foreign_variables(model: AnyModelConfig, dtype: tf.DType) -> list[tf.Variable]:
    """Variables of stock checkpoints that change nothing: the identity as scale and shift of what
    atoms have, and of densities of states a bias of zeros.
    """
    found: dict[str, tuple[tuple[int, ...], float]] = {}
    for member in model.nets:
        fitting, ntypes = member.config.fitting_net, model.known_ntypes
        for name, value in OUTPUT_IDENTITY.items():
            found[names.in_model(name, member.scope)] = (1, ntypes, fitting.width), value
        if isinstance(fitting, FittingDos):
            found[names.BIAS_DOS] = (ntypes, fitting.width), 0.0
    return [
        tf.Variable(
            np.full(shape, value, dtype.as_numpy_dtype),
            name=name,
            trainable=False,
            use_resource=False,
        )
        for name, (shape, value) in found.items()
    ]
