# SPDX-License-Identifier: BSD-3-Clause
"""Load the compiled operations, once and when first needed, or raise an error that says why not.

:func:`native` gives the operations of this package, :func:`stock` those under the names that frozen
models of DeePMD-kit use. Both return an object with one function per operation, named in snake
case, as :func:`tf.load_op_library` makes it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from deepmd_tf.compiled import (
    INSTALL_TENSORFLOW,
    LIBRARY_FOLDER,
    build_record,
    rebuild_command,
    series,
)
from deepmd_tf.errors import InstallError
from deepmd_tf.ops import device

_NOISE = (
    "All log messages before absl::InitializeLog()",
    "oneDNN custom operations are on",
    "cpu_feature_guard.cc",
    "To enable the following instructions",
)


@functools.cache
def tensorflow() -> ModuleType:
    """Import TensorFlow quietly and return it; :class:`InstallError` if there is none.

    The user's own ``TF_CPP_MIN_LOG_LEVEL`` is respected; unset, it becomes 2 (errors only). With 0
    or 1 nothing is kept from the screen.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise InstallError(
            f"TensorFlow is not installed in this environment. Install it: {INSTALL_TENSORFLOW} "
            '(for a GPU: pip install "tensorflow[and-cuda]>=2.16,<2.22").'
        )
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") not in ("0", "1")
    try:
        with _quiet_import() if quiet else contextlib.nullcontext(), _without_collector():
            import tensorflow as tf
    except ImportError as error:
        raise InstallError(
            f"TensorFlow is installed but cannot be imported: {error}. Reinstall it: "
            f"pip install --force-reinstall {INSTALL_TENSORFLOW.removeprefix('pip install ')}"
        ) from error
    if quiet:
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return tf


@functools.cache
def native() -> Any:
    """Return the operations of this package (``dp_neighbor_list``, ``dp_gather_pairs``, …)."""
    device.wanted()
    operations = _load("deepmd_tf_ops")
    device.report(tensorflow())
    return operations


@functools.cache
def stock() -> Any:
    """Return the operations under stock names (``prod_env_mat_a``, ``prod_force_se_a``, …).

    If the process has these names already (DeePMD-kit was imported before), the registered
    operations are returned: TensorFlow allows every name once, and they compute the same.
    """
    tf = tensorflow()
    names = build_record().get("stock_ops", [])
    registered = [name for name in names if _is_registered(name)]
    if not registered:
        return _load("deepmd_tf_stock_ops")
    missing = sorted(set(names) - set(registered))
    if missing:
        raise InstallError(
            "another package has registered some of the stock operations in this process "
            f"({', '.join(registered)}) but not {', '.join(missing)}. Run deepmd_tf in a process "
            "of its own, or install deepmd-kit 3.2.0 or newer beside it."
        )
    return _RegisteredOps(tf, names)


def own_stock() -> Any:
    """As :func:`stock`, but only the operations of this package.

    They check what they are given, so a graph from a file may name them.

    Raises
    ------
    InstallError
        If another package has registered these names in this process.
    """
    operations = stock()
    if isinstance(operations, _RegisteredOps):
        raise InstallError(
            "DeePMD-kit has been loaded in this process and has registered the operations that "
            "compressed models need under the same names; evaluate such a model in a process that "
            "does not import deepmd, or with the DeepPot of DeePMD-kit"
        )
    return operations


def instruction_set() -> str:
    """Which kernels run on this processor: ``"baseline"``, ``"avx2"`` or ``"avx512"``."""
    native()
    return device.native_text("deepmd_tf_isa") or ""


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the garbage collector, which finds nothing while modules are imported."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Drop what TensorFlow's static initialisers print before they read the log level.

    They write to the file descriptor, so it is redirected to a file; what is not known noise is
    printed afterwards.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError):  # no standard error to keep clean
        yield
        return
    with tempfile.TemporaryFile() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(scratch.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            scratch.seek(0)
            lines = scratch.read().decode(errors="replace").splitlines(keepends=True)
            rest = [line for line in lines if not any(noise in line for noise in _NOISE)]
            sys.stderr.write("".join(rest))


def _load(name: str) -> Any:
    tf = tensorflow()
    path = LIBRARY_FOLDER / f"lib{name}.so"
    built = build_record().get("tensorflow", "")
    if not path.exists() or not built:
        raise InstallError(
            f"the compiled operations are missing ({path}). Build them: {rebuild_command()}."
        )
    if series(built) != series(tf.__version__):
        raise InstallError(
            f"the operations of deepmd_tf were built against TensorFlow {built}, but TensorFlow "
            f"{tf.__version__} is running. Build them again: {rebuild_command()}. Or install the "
            f'other TensorFlow: pip install "tensorflow-cpu=={built}".'
        )
    try:
        return tf.load_op_library(str(path))
    except (tf.errors.OpError, OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "undefined symbol" in reason:  # nothing that the user could look up
            reason = "they were compiled for another build of TensorFlow"
        raise InstallError(
            f"the operations of deepmd_tf (built against TensorFlow {built}) do not load into "
            f"TensorFlow {tf.__version__}: {reason}. Build them again: {rebuild_command()}."
        ) from error


def _is_registered(name: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name) is not None


class _RegisteredOps:
    """Functions for operations that another library has registered in this process."""

    def __init__(self, tf: ModuleType, names: list[str]) -> None:
        for name in names:
            setattr(self, _snake(name), functools.partial(self._apply, name))
        self._tf = tf

    def _apply(self, op_name: str, /, *, name: str | None = None, **arguments: Any) -> Any:
        from tensorflow.python.framework import op_def_library

        return op_def_library.apply_op(op_name, name=name, **arguments)


def _snake(name: str) -> str:
    """ProdForceSeA → prod_force_se_a, as TensorFlow names the generated function."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
