# SPDX-License-Identifier: BSD-3-Clause
"""Files of checkpoints: their names, how they appear and go, and which of them are whole.

A checkpoint of step 200 with the prefix ``model.ckpt`` is

=====================================  ============================================================
``model.ckpt-200.data-00000-of-00001``  values of the variables
``model.ckpt-200.index``               their names and shapes
``model.ckpt-200.meta``                a graph with these variables and the input script in it
``model.ckpt-200.state.json``          state outside of the graph: data order, random generators
``model.ckpt-200.manifest.json``       sizes and SHA-256 of the others
=====================================  ============================================================

``model.ckpt.*`` are links to the newest one, and the file ``checkpoint`` names it. The files are
written elsewhere, synchronised and then renamed, ``.index`` last. Links follow, then
``checkpoint``, and only then are old ones removed, so that there is a whole checkpoint at every
moment. One of the same step from an earlier training loses its ``.index`` first.

Other programs write neither state nor manifest, and earlier versions no manifest: such files count
as whole when TensorFlow, which keeps check sums too, can read all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf
from google.protobuf import text_format
from tensorflow.python.training.checkpoint_state_pb2 import CheckpointState

from deepmd_tf import files
from deepmd_tf.errors import CheckpointError
from deepmd_tf.graph.session import plain_message

log = logging.getLogger(__name__)

BEST = "best.ckpt"
"""Beginning of the names of checkpoints with the lowest validation errors."""

DATA, INDEX, META, STATE = ".data-00000-of-00001", ".index", ".meta", ".state.json"
MANIFEST = ".manifest.json"
SUFFIXES = (STATE, META, DATA, MANIFEST, INDEX)
"""In the order of their appearance."""
RECORD = "checkpoint"
"""Name of the file that lists the checkpoints of a folder."""
READER_ERRORS = (
    tf.errors.OpError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    MemoryError,
)
"""What TensorFlow's reader of checkpoints raises when a file is damaged."""
_PATTERN = re.compile(r"[*?\[\\]")
"""What makes TensorFlow take a path for a pattern."""
_CHUNK = 1 << 20
_MOST_LINKS = 40
"""Links to links, as many as Linux follows."""


def file_of(prefix: Path, step: int, suffix: str = "") -> Path:
    """``<prefix>-<step><suffix>``."""
    return prefix.with_name(f"{prefix.name}-{step}{suffix}")


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
    for stale in prefix.parent.glob(f".{_escape(prefix.name)}-*.part"):
        shutil.rmtree(stale, ignore_errors=True)


@contextmanager
def plain_path(prefix: str | os.PathLike[str]) -> Iterator[str]:
    """A path of the checkpoint ``prefix`` for TensorFlow's readers, valid in the block.

    They take a path for a pattern, so that nothing is found below ``neuron=[30-30]``, and refuse
    one that is not UTF-8. Links lead to the files of such a checkpoint.
    """
    prefix = Path(prefix)
    if _is_plain(str(prefix)):
        yield str(prefix)
        return
    with tempfile.TemporaryDirectory(prefix="deepmd_tf-") as folder:
        for name in os.listdir(prefix.parent):
            suffix = name.removeprefix(prefix.name)
            if suffix != name and suffix.startswith((INDEX, ".data-")):
                files.link(os.path.abspath(prefix.parent / name), f"{folder}/checkpoint{suffix}")
        yield f"{folder}/checkpoint"


@contextmanager
def open_reader(prefix: str | os.PathLike[str]) -> Iterator[Any]:
    """TensorFlow's reader of the checkpoint ``prefix``, which can be used in the block.

    Raises
    ------
    Exception
        One of :data:`READER_ERRORS`, as its methods do.
    """
    with plain_path(prefix) as path:
        yield tf.train.NewCheckpointReader(path)


@contextmanager
def part_folder(prefix: Path) -> Iterator[Path]:
    """Where files are prepared; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f".{prefix.name}-", suffix=".part", dir=prefix.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(new: Path, prefix: Path) -> None:
    """Let the files ``<new>.*``, at least data and index, be the checkpoint ``<prefix>.*``.

    Raises
    ------
    OSError
        If they cannot be written or renamed.
    """
    present = [s for s in SUFFIXES if s != MANIFEST and _with(new, s).exists()]
    for suffix in present:
        files.sync(_with(new, suffix))
    manifest = {"files": {suffix: _fingerprint(_with(new, suffix)) for suffix in present}}
    files.write_synced(_with(new, MANIFEST), json.dumps(manifest, indent=1).encode())
    # an index of before must not be there when data of now are
    remove(prefix)
    for suffix in SUFFIXES:
        if _with(new, suffix).exists():
            files.rename(_with(new, suffix), _with(prefix, suffix))
    files.sync(prefix.parent)


def point_to(prefix: Path, step: int) -> None:
    """Let ``<prefix>.*`` be the checkpoint of ``step``.

    Raises
    ------
    OSError
        If the links cannot be made.
    """
    with part_folder(prefix) as folder:
        for suffix in SUFFIXES:
            link = folder / f"link{suffix}"
            files.link(file_of(prefix, step, suffix).name, link)
            files.rename(link, _with(prefix, suffix))


def write_record(folder: Path, names: Sequence[str]) -> None:
    """Write the file ``checkpoint``: names of checkpoints, the newest last.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    paths = [json.dumps(name, ensure_ascii=False) for name in names]
    lines = [f"model_checkpoint_path: {paths[-1]}"]
    lines += [f"all_model_checkpoint_paths: {path}" for path in paths]
    files.write_whole(folder / RECORD, "\n".join(lines) + "\n", CheckpointError)


def remove(prefix: Path) -> None:
    """Remove a checkpoint, if it is there.

    Raises
    ------
    OSError
        If a file cannot be removed.
    """
    # The index goes first: what has one is whole.
    for suffix in reversed(SUFFIXES):
        files.remove(_with(prefix, suffix))


def listed_steps(prefix: Path) -> list[int]:
    """Steps of ``<prefix>-<step>`` that the file ``checkpoint`` beside it lists, oldest first."""
    record = _read_record(prefix.parent)
    names = [Path(path).name for path in record.all_model_checkpoint_paths]
    pattern = re.compile(rf"{re.escape(prefix.name)}-(\d+)")
    return [int(found[1]) for name in names if (found := pattern.fullmatch(name))]


def written_steps(prefix: Path, step: int) -> list[int]:
    """Steps of the checkpoints of the training that wrote that of ``step``, up to this, oldest
    first: those that are listed, and later ones that it died before it could list.
    """
    listed = [s for s in listed_steps(prefix) if s < step]
    unlisted = []
    if listed:
        date = (prefix.parent / RECORD).stat().st_mtime_ns
        unlisted = [
            s
            for s in sorted(_present_steps(prefix))
            if listed[-1] < s < step and file_of(prefix, s, INDEX).stat().st_mtime_ns >= date
        ]
    steps = [*listed, *unlisted, step]
    return [s for s in steps if file_of(prefix, s, INDEX).exists()]


def damage(prefix: Path) -> str | None:
    """The defect of the files of a checkpoint; None if they are complete.

    Parameters
    ----------
    prefix
        With the step, ``model.ckpt-200``.
    """
    try:
        text = files.read_text(_with(prefix, MANIFEST), CheckpointError)
    except FileNotFoundError:
        return _unreadable_parts(prefix)
    except CheckpointError:
        text = ""
    try:
        expected = dict(json.loads(text)["files"])
        # other names might be anywhere, and might have no end
        if not {INDEX, DATA} <= expected.keys() <= set(SUFFIXES):
            raise ValueError
        for suffix, (size, digest) in expected.items():
            path = _with(prefix, suffix)
            if path.exists() and not path.is_file():
                return f"{path.name} is not a file"
            found = _fingerprint(path)
            if found[0] != size:
                return f"{path.name} has {found[0]} bytes, {size} were written"
            if found[1] != digest:
                return f"{path.name} is not what was written (SHA-256 differs)"
    except OSError as error:
        return f"{Path(error.filename).name}: {error.strerror}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return f"{_with(prefix, MANIFEST).name} is damaged"
    return None


def resolve(prefix: str | os.PathLike[str]) -> Path:
    """The prefix of the checkpoint that ``prefix`` names, links followed.

    ``model.ckpt`` becomes ``model.ckpt-200`` when that is the newest one that is whole; damaged
    ones that are newer are told in a warning. The name of one of the files of a checkpoint,
    ``model.ckpt-200.index``, stands for its prefix. A single link decides which is the newest, so
    the result is one checkpoint even when a training was killed while it moved the links.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, or the one that is named by its step, or every one, is
        damaged; the message tells which are there.
    """
    prefix = Path(_without_suffix(os.fspath(prefix)))
    index = _with(prefix, INDEX)
    if index.is_file() and not index.is_symlink():
        _require_whole(prefix)
        return prefix
    candidates = _newest_first(prefix)
    if candidates:
        return _first_whole(candidates)
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


def resolve_folder(folder: Path) -> Path:
    """As :func:`resolve`, of what the file ``checkpoint`` in a folder names.

    Raises
    ------
    CheckpointError
        If there is no such file, or it names nothing that exists.
    """
    record = folder / RECORD
    if not record.is_file():
        raise CheckpointError(f'{folder}: no file "{RECORD}" there; train first, or give a prefix')
    path = _read_record(folder).model_checkpoint_path
    named = folder / path if path else None
    candidates = [] if named is None else _with_step(named)
    if named is None or not candidates:
        raise CheckpointError(
            f"{record}: names no checkpoint that exists; other programs write a file of this name "
            'too, so give the prefix, for example "model.ckpt"'
        )
    return _first_whole(list(dict.fromkeys([named, *candidates])))


def _is_plain(path: str) -> bool:
    return not _PATTERN.search(path) and path == path.encode("utf-8", "replace").decode()


def _read_record(folder: Path) -> CheckpointState:
    """What the file ``checkpoint`` of a folder lists; empty if there is none, or no such list."""
    state = CheckpointState()
    with (
        contextlib.suppress(FileNotFoundError, CheckpointError, text_format.ParseError, ValueError),
        warnings.catch_warnings(),
    ):
        # texts are read with the escapes of Python, which remarks on unknown ones
        warnings.simplefilter("ignore", DeprecationWarning)
        text_format.Parse(files.read_text(folder / RECORD, CheckpointError), state)
        return state
    return CheckpointState()


def _with(prefix: Path, suffix: str) -> Path:
    # with_suffix would take "-1000" of "model.ckpt-1000" for a part of the suffix
    return Path(f"{prefix}{suffix}")


def _escape(text: str) -> str:
    """``text`` as a glob pattern that matches itself only."""
    return re.sub(r"([*?[])", r"[\1]", text)


def _without_suffix(prefix: str) -> str:
    for suffix in SUFFIXES:
        if prefix.endswith(suffix) and os.path.isfile(prefix.removesuffix(suffix) + INDEX):
            return prefix.removesuffix(suffix)
    return prefix


def _fingerprint(path: Path) -> list[int | str]:
    """Size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return [size, digest.hexdigest()]


def _unreadable_parts(prefix: Path) -> str | None:
    """:func:`damage` of a checkpoint without a manifest."""
    for suffix in (INDEX, DATA):
        if not _with(prefix, suffix).is_file():
            return f"there is no {_with(prefix, suffix).name}"
    try:
        with open_reader(prefix) as reader:
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
    except READER_ERRORS as error:
        return plain_message(error)
    with contextlib.suppress(FileNotFoundError):
        try:
            json.loads(files.read_text(_with(prefix, STATE), CheckpointError, largest=1 << 33))
        except (CheckpointError, ValueError, RecursionError):
            return f"{_with(prefix, STATE).name} is cut off"
    return None


def _newest_first(prefix: Path) -> list[Path]:
    """Checkpoints ``<prefix>-<step>``: the linked one, those that are listed, then others."""
    index = _with(prefix, INDEX)
    linked = []
    if index.is_symlink():
        for _ in range(_MOST_LINKS):
            if not index.is_symlink():
                break
            index = index.parent / os.readlink(index)
        if index.name.endswith(INDEX):
            linked.append(index.with_name(index.name.removesuffix(INDEX)))
    present = _present_steps(prefix)
    listed = [step for step in reversed(listed_steps(prefix)) if step in present]
    steps = [*listed, *sorted(present - set(listed), reverse=True)]
    return list(dict.fromkeys([*linked, *(file_of(prefix, step) for step in steps)]))


def _present_steps(prefix: Path) -> set[int]:
    """Steps of all ``<prefix>-<step>.index``."""
    pattern = re.compile(rf"{re.escape(prefix.name)}-(\d+){re.escape(INDEX)}")
    names = (path.name for path in prefix.parent.glob(f"{_escape(prefix.name)}-*{INDEX}"))
    return {int(found[1]) for name in names if (found := pattern.fullmatch(name))}


def _with_step(prefix: Path) -> list[Path]:
    """A checkpoint, and others of the same training if it is ``<prefix>-<step>``."""
    found = re.fullmatch(r"(.+)-\d+", prefix.name)
    others = _newest_first(prefix.with_name(found[1])) if found else []
    return [prefix, *others] if _with(prefix, INDEX).is_file() else others


def _first_whole(candidates: Sequence[Path]) -> Path:
    damaged: list[str] = []
    for candidate in candidates:
        problem = damage(candidate)
        if problem is None:
            if damaged:
                log.warning("%s; %s is used instead", "; ".join(damaged), candidate)
            return candidate
        damaged.append(f"checkpoint {candidate} is damaged: {problem}")
    raise CheckpointError(
        f"{'; '.join(damaged)}; there is no older one that is whole; copy one again, or begin anew"
    )


def _require_whole(prefix: Path) -> None:
    problem = damage(prefix)
    if problem is None:
        return
    others = (other for other in _with_step(prefix) if other != prefix)
    good = next((other for other in others if damage(other) is None), None)
    advice = "there is no other one that is whole" if good is None else f"take {good}"
    raise CheckpointError(f"{prefix}: the checkpoint cannot be read ({problem}); {advice}")
