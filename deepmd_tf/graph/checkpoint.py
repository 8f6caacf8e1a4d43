# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: TensorFlow's files under stock names, and what else an exact continuation needs."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import files, names
from deepmd_tf.errors import CheckpointError
from deepmd_tf.graph.checkpoint_files import (
    INDEX,
    META,
    READER_ERRORS,
    STATE,
    file_of,
    install,
    listed_steps,
    make_folder,
    open_reader,
    part_folder,
    plain_path,
    point_to,
    remove,
    write_record,
    written_steps,
)
from deepmd_tf.graph.saving import SaveOperation, with_moments
from deepmd_tf.graph.session import assign, plain_message
from deepmd_tf.log import told_if_slow
from deepmd_tf.nn.parameters import AtRest, RestingParameters
from deepmd_tf.nn.variables import Stack

log = logging.getLogger(__name__)

OUTPUT_IDENTITY = {names.OUT_BIAS: 0.0, names.OUT_STD: 1.0}
"""Variables of stock checkpoints that change nothing as long as they have these values."""


class Checkpoints:
    """Writes and reads the checkpoints of one training.

    Parameters
    ----------
    prefix
        ``save_ckpt`` of the input script; the files are ``<prefix>-<step>.*``.
    keep
        How many are kept, the newest ones; 0 keeps all.
    """

    def __init__(self, prefix: str | os.PathLike[str], keep: int) -> None:
        self.prefix = Path(prefix)
        self.keep = keep
        self._steps: list[int] = []
        self._resting: RestingParameters | None = None
        self._meta: bytes | None = None
        self._ahead: Future[bytes] | None = None

    def build(
        self,
        variables: Iterable[tf.Variable],
        constants: Iterable[tf.Variable] = (),
        describe: Callable[[], tf.MetaGraphDef] | None = None,
        resting: RestingParameters | None = None,
        stacks: Iterable[Stack] = (),
    ) -> None:
        """Add the nodes that save and restore ``variables`` to the default graph.

        Parameters
        ----------
        variables
            What is saved and restored.
        constants
            What is saved as well, for other programs; never restored.
        describe
            Makes what ``.meta`` holds, once; by default the graph of the session.
        resting
            Weights that are not in the graph, but saved and restored as if they were.
        stacks
            Those of ``variables`` whose slices are saved, and restored, by their own names.
        """
        self._variables = {v.op.name: v for v in variables}
        self._stacks = with_moments(stacks, self._variables)
        for stack in self._stacks:
            del self._variables[stack.variable.op.name]
        slices = [zip(stack.names, stack.slices, strict=True) for stack in self._stacks]
        self._slices = dict(itertools.chain.from_iterable(slices))
        self._restorer = tf.train.Saver(self._variables, max_to_keep=0)
        self._resting = resting
        written = self._variables | self._slices | {v.op.name: v for v in constants}
        self._saving = SaveOperation.build(written, resting)
        self._describe = describe or tf.train.export_meta_graph

    def describe_ahead(self) -> None:
        """Begin to make what ``.meta`` holds in a thread, while TensorFlow prepares the first step.

        Only with a ``describe`` that does not need the default graph. What goes wrong in it is
        raised when the first checkpoint is written.
        """
        pool = ThreadPoolExecutor(1, "describe")
        self._ahead = pool.submit(self._described)
        pool.shutdown(wait=False)

    def prepare(self) -> None:
        """Make the folder, and remove what a killed training has left half-written.

        Raises
        ------
        CheckpointError
            If the folder cannot be made.
        """
        make_folder(self.prefix)

    def continue_from(self, step: int) -> None:
        """Count existing checkpoints up to ``step`` as ours, as the training before did.

        Those that the training died before it could list are some of them.
        """
        self._steps = written_steps(self.prefix, step)

    def complete(self, step: int) -> None:
        """Do what is left of writing the checkpoint of ``step``, if a training died meanwhile.

        Raises
        ------
        CheckpointError
            If links or list cannot be written.
        """
        listed = listed_steps(self.prefix)[-1:] == [step]
        if listed or not file_of(self.prefix, step, INDEX).exists():
            return
        make_folder(self.prefix)
        self.continue_from(step)
        with _named_errors(self.prefix, step):
            point_to(self.prefix, step)
            self._record(step)

    @property
    def newest(self) -> Path | None:
        """The checkpoint written last, or resumed from; None if there is none."""
        return file_of(self.prefix, self._steps[-1]) if self._steps else None

    def save(self, session: tf.Session, step: int, state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of ``step``; returns its prefix.

        Parameters
        ----------
        session
            Holds the values.
        step
            Steps done.
        state
            Numbers, strings, arrays, lists and dictionaries of them; :func:`read_state` gives them
            back.

        Raises
        ------
        CheckpointError
            If the files cannot be written. What was there before is intact.
        """
        with _named_errors(self.prefix, step):
            self._write(session, self.prefix, step, state)
            point_to(self.prefix, step)
            self._record(step)
        return file_of(self.prefix, step)

    def save_beside(
        self,
        session: tf.Session,
        prefix: Path,
        step: int,
        state: Mapping[str, Any],
        ranked: Sequence[int],
        superseded: Iterable[int],
    ) -> Path:
        """Write a checkpoint that is not one of the training's own, and is not listed.

        Parameters
        ----------
        session, step, state
            As for :meth:`save`.
        prefix
            The files are ``<prefix>-<step>.*``.
        ranked
            Steps, this one among them; ``<prefix>.*`` links to the first that has a checkpoint.
        superseded
            Steps whose checkpoints are removed afterwards.

        Raises
        ------
        CheckpointError
            If the files cannot be written. What was there before is intact.
        """
        with _named_errors(prefix, step):
            self._write(session, prefix, step, state)
            point_to(prefix, next(s for s in ranked if file_of(prefix, s, INDEX).exists()))
            for old in superseded:
                remove(file_of(prefix, old))
        return file_of(prefix, step)

    def restore(self, session: tf.Session, prefix: str | os.PathLike[str]) -> None:
        """Set all variables from the checkpoint ``prefix`` (as :func:`resolve` gives it).

        Raises
        ------
        CheckpointError
            If the checkpoint is unreadable, lacks a variable, has one in another shape or type, or
            has a weight that the model does not have.
        """
        try:
            with open_reader(prefix) as reader:
                known = {names.present(name): name for name in reader.get_variable_to_shape_map()}
                present = self._variables | self._slices | self._at_rest()
                if problems := list(_misfits(reader, known, present)):
                    raise _misfit(prefix, problems)
                if all(known[name] == name for name in self._variables):
                    with session.graph.as_default(), plain_path(prefix) as path:
                        self._restorer.restore(session, path)
                    pairs = []
                else:
                    items = self._variables.values()
                    pairs = [(v, reader.get_tensor(known[v.op.name])) for v in items]
                for stack in self._stacks:
                    arrays = [reader.get_tensor(known[name]) for name in stack.names]
                    pairs.append((stack.variable, np.stack(arrays)))
                assign(session, pairs)
                if self._resting is not None:
                    self._resting.set({name: reader.get_tensor(name) for name in self._at_rest()})
        except READER_ERRORS as error:
            raise _unreadable(prefix, error) from None

    def _write(
        self, session: tf.Session, prefix: Path, step: int, state: Mapping[str, Any]
    ) -> None:
        with part_folder(prefix) as folder, session.graph.as_default():
            if self._meta is None:
                with told_if_slow(log, "describing the model for other programs"):
                    self._meta = self._ahead.result() if self._ahead else self._described()
            new = folder / "new"
            self._saving.run(session, new)
            files.write_synced(f"{new}{META}", self._meta)
            text = json.dumps({"step": step, **_encode(state)})
            files.write_synced(f"{new}{STATE}", text.encode())
            install(new, file_of(prefix, step))

    def _at_rest(self) -> dict[str, AtRest]:
        return {} if self._resting is None else self._resting.specs

    def _described(self) -> bytes:
        return self._describe().SerializeToString(deterministic=True)

    def _record(self, step: int) -> None:
        self._steps = [s for s in self._steps if s != step] + [step]
        old = self._steps[: -self.keep] if self.keep else []
        self._steps = self._steps[len(old) :]
        write_record(self.prefix.parent, [file_of(self.prefix, s).name for s in self._steps])
        for s in old:
            remove(file_of(self.prefix, s))


@contextmanager
def _named_errors(prefix: Path, step: int) -> Iterator[None]:
    """Failures to write a checkpoint in the user's words."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or plain_message(error)
        raise CheckpointError(
            f"{file_of(prefix, step)}: the checkpoint cannot be written ({reason}); "
            "earlier checkpoints are intact"
        ) from error


def read_step(prefix: str | os.PathLike[str]) -> int:
    """Steps done when a checkpoint was written.

    Raises
    ------
    CheckpointError
        If the checkpoint is unreadable or has no step counter.
    """
    try:
        with open_reader(prefix) as reader:
            return int(reader.get_tensor(names.GLOBAL_STEP))
    except READER_ERRORS as error:
        raise _unreadable(prefix, error) from None


def read_state(prefix: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The ``state`` that :meth:`Checkpoints.save` stored; None if there is none (stock).

    Raises
    ------
    CheckpointError
        If the file is damaged.
    """
    path = Path(f"{prefix}{STATE}")
    try:
        return _decode(json.loads(files.read_text(path, CheckpointError, largest=1 << 33)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}); restart from another checkpoint"
        ) from None


def _unreadable(prefix: str | os.PathLike[str], error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{prefix}: the checkpoint cannot be read ({plain_message(error)}); take another one"
    )


def _misfit(prefix: str | os.PathLike[str], problems: Sequence[str]) -> CheckpointError:
    more = f"; {len(problems) - 1} more do not fit either" if len(problems) > 1 else ""
    return CheckpointError(
        f"{prefix}: does not fit the model of the input script: {problems[0]}{more}. "
        "Type map, descriptor and fitting_net must be those of the training that wrote the "
        "checkpoint"
    )


def _misfits(
    reader: Any, known: Mapping[str, str], variables: Mapping[str, tf.Variable]
) -> Iterator[str]:
    """Why variables cannot be set from a checkpoint, which has them as ``known``."""
    shapes, dtypes = (
        {name: found[there] for name, there in known.items()}
        for found in (reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map())
    )
    for name, variable in variables.items():
        if name not in shapes:
            yield f'variable "{name}" is missing'
            continue
        shape, dtype = variable.shape.as_list(), variable.dtype.base_dtype
        found = tf.as_dtype(dtypes[name]).base_dtype
        if list(shapes[name]) != shape:
            yield f'variable "{name}" has shape {list(shapes[name])}, the model needs {shape}'
        elif found != dtype:
            yield f'variable "{name}" is {found.name}, the model needs {dtype.name}'
    for name in sorted(shapes):
        if (plain := names.split_model(name)[0]) in OUTPUT_IDENTITY:
            if (reader.get_tensor(known[name]) != OUTPUT_IDENTITY[plain]).any():
                yield f'variable "{name}" changes the atomic energies, which is not supported'
        elif names.is_parameter(name) and name not in variables:
            yield f'variable "{name}" has no place in the model'


_ARRAY = "__array__"


def _encode(value: Any) -> Any:
    """``value`` in terms of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        # bytes rather than digits: a batch of many atoms is then written in no time
        text = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode("ascii")
        return {_ARRAY: value.dtype.str, "shape": list(value.shape), "base64": text}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any) -> Any:
    """Inverse of :func:`_encode`; tuples come back as lists."""
    if isinstance(value, dict):
        if _ARRAY in value:
            array = np.frombuffer(base64.b64decode(value["base64"]), dtype=value[_ARRAY])
            return array.reshape(value["shape"]).copy()
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value
