# SPDX-License-Identifier: BSD-3-Clause
"""Where operations run: on the processor, or on a GPU."""

from __future__ import annotations

import ctypes
import logging
import os
from typing import Any

from deepmd_tf.compiled import library_path
from deepmd_tf.environment_variables import DEVICE
from deepmd_tf.errors import InputError

log = logging.getLogger(__name__)


def wanted() -> str:
    """What ``DEEPMD_TF_DEVICE`` asks for: "cpu", "gpu", or nothing ("").

    Raises
    ------
    InputError
        When it is another word.
    """
    word = os.environ.get(DEVICE, "")
    if word not in ("", "cpu", "gpu"):
        raise InputError(f'environment variable {DEVICE} is "{word}", it must be cpu or gpu')
    return word


def native_text(function: str) -> str | None:
    """What a function without arguments of the loaded native library says; None for nothing."""
    call = getattr(ctypes.CDLL(str(library_path("deepmd_tf_ops"))), function)
    call.restype = ctypes.c_char_p
    value = call()
    return None if value is None else value.decode(errors="replace")


def why_not_gpu(tf: Any) -> str | None:
    """Why operations of the loaded native library run on the processor; None if on a GPU."""
    if why := native_text("deepmd_tf_why_no_gpu"):
        return why
    if tf.config.list_physical_devices("GPU"):
        return None
    return f"{DEVICE} is gpu, but {no_gpu_in(tf)}"


def no_gpu_in(tf: Any) -> str:
    """Why TensorFlow sees no GPU."""
    if not tf.test.is_built_with_cuda():
        return 'this TensorFlow is one for processors: pip install "tensorflow[and-cuda]"'
    return (
        "TensorFlow sees no GPU: its CUDA libraries are missing or do not fit the driver, or "
        "CUDA_VISIBLE_DEVICES hides it"
    )


def report(tf: Any) -> None:
    """Say so where a GPU is asked for and operations run on the processor nevertheless."""
    if wanted() == "gpu" and (why := why_not_gpu(tf)):
        log.warning("operations run on the processor: %s", why)


def description() -> list[tuple[str, str]]:
    """Names and values: driver, cards, NVRTC and cuBLAS, as far as they are there.

    A name begins with "!" where something is not there, and its value is the reason. The driver is
    started.
    """
    lines = (native_text("deepmd_tf_describe_gpu") or "").splitlines()
    return [(name, value) for name, _, value in (line.partition("\t") for line in lines)]
