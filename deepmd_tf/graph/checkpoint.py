# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: TensorFlow's files under stock names, and what else an exact continuation needs.

A checkpoint of step 200 with the prefix ``model.ckpt`` is

=====================================  ============================================================
``model.ckpt-200.data-00000-of-00001``  values of the variables
``model.ckpt-200.index``               their names and shapes
``model.ckpt-200.meta``                a graph with these variables and the input script in it
``model.ckpt-200.state.json``          state outside of the graph: data order, random generators
=====================================  ============================================================

``model.ckpt.*`` are links to the newest one, and the file ``checkpoint`` names it. The files are
written elsewhere and then renamed, ``.index`` last: a checkpoint whose ``.index`` exists is whole.
Links follow, then ``checkpoint``, and only then are old ones removed, so that there is a whole
checkpoint at every moment. One of the same step from an earlier training loses its ``.index``
first.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import CheckpointError
from deepmd_tf.graph.session import plain_message

DATA, INDEX, META, STATE = ".data-00000-of-00001", ".index", ".meta", ".state.json"
SUFFIXES = (STATE, META, DATA, INDEX)
"""In the order of their appearance."""
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
        self._saver: tf.train.Saver | None = None
        self._meta: bytes | None = None

    def build(
        self,
        variables: Iterable[tf.Variable],
        constants: Iterable[tf.Variable] = (),
        describe: Callable[[], tf.MetaGraphDef] | None = None,
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
        """
        self._variables = {v.op.name: v for v in variables}
        self._restorer = tf.train.Saver(self._variables, max_to_keep=0)
        written = self._variables | {v.op.name: v for v in constants}
        self._saver = tf.train.Saver(written, max_to_keep=0)
        self._describe = describe or self._saver.export_meta_graph

    def prepare(self) -> None:
        """Make the folder, and remove what a killed training has left half-written.

        Raises
        ------
        CheckpointError
            If the folder cannot be made.
        """
        make_folder(self.prefix)

    def continue_from(self, step: int) -> None:
        """Count existing checkpoints up to ``step`` as ours, as the training before did."""
        self._steps = [
            s
            for s in listed_steps(self.prefix)
            if s <= step and _file(self.prefix, s, INDEX).exists()
        ]

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
        with _told(self.prefix, step):
            self._write(session, self.prefix, step, state)
            _link(self.prefix, step)
            self._record(step)
        return _file(self.prefix, step, "")

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
        with _told(prefix, step):
            self._write(session, prefix, step, state)
            _link(prefix, next(s for s in ranked if _file(prefix, s, INDEX).exists()))
            for old in superseded:
                _remove(prefix, old)
        return _file(prefix, step, "")

    def restore(self, session: tf.Session, prefix: str | os.PathLike[str]) -> None:
        """Set all variables from the checkpoint ``prefix`` (as :func:`resolve` gives it).

        Raises
        ------
        CheckpointError
            If the checkpoint is unreadable, lacks a variable, has one in another shape or type, or
            has a weight that the model does not have.
        """
        prefix = str(prefix)
        try:
            reader = tf.train.load_checkpoint(prefix)
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise _unreadable(prefix, error) from None
        problems = list(_misfits(reader, self._variables))
        if problems:
            more = f"; {len(problems) - 1} more do not fit either" if len(problems) > 1 else ""
            raise CheckpointError(
                f"{prefix}: does not fit the model of the input script: {problems[0]}{more}. "
                "Type map, descriptor and fitting_net must be those of the training that wrote the "
                "checkpoint"
            )
        try:
            with session.graph.as_default():
                self._restorer.restore(session, prefix)
        except (tf.errors.OpError, ValueError) as error:
            raise _unreadable(prefix, error) from None

    def _write(
        self, session: tf.Session, prefix: Path, step: int, state: Mapping[str, Any]
    ) -> None:
        with _part_folder(prefix) as folder, session.graph.as_default():
            if self._meta is None:
                self._meta = self._describe().SerializeToString(deterministic=True)
            self._saver.save(
                session, str(folder / "new"), write_meta_graph=False, write_state=False
            )
            (folder / f"new{META}").write_bytes(self._meta)
            (folder / f"new{STATE}").write_text(json.dumps({"step": step, **_encode(state)}))
            # an index of before must not be there when data of now are
            _file(prefix, step, INDEX).unlink(missing_ok=True)
            for suffix in SUFFIXES:
                os.replace(folder / f"new{suffix}", _file(prefix, step, suffix))

    def _record(self, step: int) -> None:
        self._steps = [s for s in self._steps if s != step] + [step]
        old = self._steps[: -self.keep] if self.keep else []
        self._steps = self._steps[len(old) :]
        paths = [
            json.dumps(_file(self.prefix, s, "").name, ensure_ascii=False) for s in self._steps
        ]
        lines = [f"model_checkpoint_path: {paths[-1]}"]
        lines += [f"all_model_checkpoint_paths: {path}" for path in paths]
        record = self.prefix.with_name("checkpoint")
        part = self.prefix.parent / f".{self.prefix.name}-checkpoint.part"
        part.write_text("\n".join(lines) + "\n")
        os.replace(part, record)
        for s in old:
            _remove(self.prefix, s)


def make_folder(prefix: Path) -> None:
    """Make the folder of checkpoints, and remove what a killed training has left half-written.

    Raises
    ------
    CheckpointError
        If the folder cannot be made.
    """
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{prefix.parent}: cannot be made ({error.strerror})") from error
    for stale in prefix.parent.glob(f".{glob_escape(prefix.name)}-*.part"):
        shutil.rmtree(stale, ignore_errors=True)


def _file(prefix: Path, step: int, suffix: str) -> Path:
    return prefix.with_name(f"{prefix.name}-{step}{suffix}")


@contextmanager
def _part_folder(prefix: Path) -> Iterator[Path]:
    """Where files are prepared; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f".{prefix.name}-", suffix=".part", dir=prefix.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(prefix: Path, step: int) -> None:
    """Let ``<prefix>.*`` be the checkpoint of ``step``."""
    with _part_folder(prefix) as folder:
        for suffix in SUFFIXES:
            link = folder / f"link{suffix}"
            link.symlink_to(_file(prefix, step, suffix).name)
            os.replace(link, prefix.with_name(f"{prefix.name}{suffix}"))


def _remove(prefix: Path, step: int) -> None:
    # The index goes first: what has one is whole.
    for suffix in reversed(SUFFIXES):
        _file(prefix, step, suffix).unlink(missing_ok=True)


@contextmanager
def _told(prefix: Path, step: int) -> Iterator[None]:
    """Failures to write a checkpoint in the user's words."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or plain_message(error)
        raise CheckpointError(
            f"{_file(prefix, step, '')}: the checkpoint cannot be written ({reason}); "
            "earlier checkpoints are intact"
        ) from error


def glob_escape(text: str) -> str:
    """``text`` as a glob pattern that matches itself only."""
    return re.sub(r"([*?[])", r"[\1]", text)


def listed_steps(prefix: Path) -> list[int]:
    """Steps of ``<prefix>-<step>`` that the file ``checkpoint`` beside it lists, oldest first."""
    try:
        text = (prefix.parent / "checkpoint").read_text()
    except (OSError, UnicodeDecodeError):
        return []
    pattern = rf'^all_model_checkpoint_paths: "(?:.*/)?{re.escape(prefix.name)}-(\d+)"$'
    return [int(step) for step in re.findall(pattern, text, re.MULTILINE)]


def resolve(prefix: str | os.PathLike[str]) -> Path:
    """The prefix of the checkpoint that ``prefix`` names, links followed.

    ``model.ckpt`` becomes ``model.ckpt-200`` when that is the newest one. The name of one of the
    files of a checkpoint, ``model.ckpt-200.index``, stands for its prefix. A single link decides,
    so the result is one checkpoint even when a training was killed while it moved the links.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint; the message lists those that are there.
    """
    prefix = Path(_without_suffix(os.fspath(prefix)))
    index = Path(f"{prefix}{INDEX}")
    if index.is_file():
        if not index.is_symlink():
            return prefix
        while index.is_symlink():
            index = index.parent / os.readlink(index)
        return index.with_name(index.name.removesuffix(INDEX))
    if prefix.suffix == ".pb":
        raise CheckpointError(
            f"{prefix}: is a frozen model by its name; what is needed here is a checkpoint, given "
            'by its prefix, for example "model.ckpt"'
        )
    found = sorted(
        p.name.removesuffix(INDEX) for p in prefix.parent.glob(f"*{INDEX}") if p.is_file()
    )
    there = f"checkpoints there: {', '.join(found)}" if found else "there is none in that folder"
    raise CheckpointError(
        f"{prefix}: no checkpoint with this prefix ({index.name} not found); {there}"
    )


def _without_suffix(prefix: str) -> str:
    for suffix in SUFFIXES:
        if prefix.endswith(suffix) and os.path.isfile(prefix.removesuffix(suffix) + INDEX):
            return prefix.removesuffix(suffix)
    return prefix


def read_step(prefix: str | os.PathLike[str]) -> int:
    """Steps done when a checkpoint was written.

    Raises
    ------
    CheckpointError
        If the checkpoint is unreadable or has no step counter.
    """
    try:
        return int(tf.train.load_checkpoint(str(prefix)).get_tensor(names.GLOBAL_STEP))
    # the reader of TensorFlow raises what it likes, IndexError among others
    except (tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
        raise _unreadable(str(prefix), error) from None


def read_state(prefix: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What :meth:`Checkpoints.save` was given as ``state``; None if there is none (stock).

    Raises
    ------
    CheckpointError
        If the file is damaged.
    """
    path = Path(f"{prefix}{STATE}")
    try:
        return _decode(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}); restart from another checkpoint"
        ) from None


def _unreadable(prefix: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{prefix}: the checkpoint cannot be read ({plain_message(error)}); take another one"
    )


def _misfits(reader: Any, variables: Mapping[str, tf.Variable]) -> Iterator[str]:
    """What keeps the variables from taking the values of a checkpoint."""
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
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
        if name in OUTPUT_IDENTITY:
            if (reader.get_tensor(name) != OUTPUT_IDENTITY[name]).any():
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
