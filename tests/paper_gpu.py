# SPDX-License-Identifier: BSD-3-Clause
"""A GPU that is made of paper: TensorFlow sees a device whose memory the host cannot touch and
whose kernels run on the host (``source/tests/gpu``).

``pytest --device gpu`` loads it before anything else, and operations with a kernel for GPUs run
there. It stays until the process ends. With the environment variable ``PAPER_GPU_SANITIZE``, such
as ``address,undefined``, kernels that leave their arrays end the process and say where;
AddressSanitizer must be there already, by ``LD_PRELOAD``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = {"paper_gpu": "libpaper_gpu.so", "use_cuda": "use_cuda"}
"""What a target of CMake makes."""


@cache
def build(target: str) -> Path:
    """Build what ``source/tests/gpu`` has, as far as it is not built; the folder where it is."""
    import tensorflow as tf

    sanitize = os.environ.get("PAPER_GPU_SANITIZE", "")
    name = "-".join(["paper-gpu", f"tf{tf.__version__}", *filter(None, sanitize.split(","))])
    tree = ROOT / "build" / name
    tree.mkdir(parents=True, exist_ok=True)
    framework = next(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework.so*"))
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])
    cmake, ninja = (shutil.which(tool, path=path) for tool in ("cmake", "ninja"))
    configure = [cmake, "-S", ROOT / "source", "-B", tree, "--log-level=WARNING"]
    if ninja is not None:
        configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    configure += [
        "-DDEEPMD_TF_OPS=OFF",
        "-DDEEPMD_TF_PAPER_GPU=ON",
        f"-DDEEPMD_TF_SANITIZE={sanitize}",
        f"-DTENSORFLOW_INCLUDE={tf.sysconfig.get_include()}",
        f"-DTENSORFLOW_LIBRARY={framework}",
    ]
    built = tree / FILES[target]
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    with open(tree / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers wait for the first one
        if built.exists() and built.stat().st_mtime > _last_change():
            return tree
        for command in (configure, [cmake, "--build", tree, "--target", target]):
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise RuntimeError(f"{command}:\n{done.stdout[-5000:]}\n{done.stderr[-1000:]}")
    return tree


def library() -> Path:
    """The device, for the TensorFlow of this environment."""
    return build("paper_gpu") / FILES["paper_gpu"]


def _last_change() -> float:
    files = [*(ROOT / "source/core").rglob("*"), *(ROOT / "source/tests/gpu").rglob("*")]
    return max(path.stat().st_mtime for path in files)


def use() -> None:
    """Make this process one that has a GPU; before TensorFlow looks for devices."""
    path = library()
    os.environ["DEEPMD_TF_DEVICE"] = "gpu"
    os.environ["DEEPMD_TF_GPU_RUNTIME"] = str(path)
    from tensorflow.python.framework import load_library

    load_library.load_pluggable_device_library(str(path))
    from deepmd_tf.ops import library as operations

    # kernels are registered when the operations are loaded, for as long as the process lives
    operations.native()
    operations.stock()


def _lines(function: str) -> list[str]:
    call = getattr(ctypes.CDLL(str(library())), function)
    call.restype = ctypes.c_char_p
    return call().decode().splitlines()


@contextlib.contextmanager
def order(*, ascending: bool) -> Iterator[None]:
    """All launches run their blocks and threads in this order, not every second one."""
    call = ctypes.CDLL(str(library())).paper_gpu_order
    call(1 if ascending else 2)
    try:
        yield
    finally:
        call(0)


def counts() -> dict[str, int]:
    """How often what ran since the process began: ``"pairs gather_pairs double"``, copies, …"""
    return {
        name: int(n) for name, _, n in (line.rpartition(" ") for line in _lines("paper_gpu_counts"))
    }


def kernels() -> list[str]:
    """All kernels: ``"pairs gather_pairs double"``."""
    return _lines("paper_gpu_kernels")


@contextlib.contextmanager
def limit(more: int) -> Iterator[None]:
    """Let the device have ``more`` bytes than are in use, and no more."""
    device = ctypes.CDLL(str(library()))
    device.paper_gpu_used.restype = ctypes.c_size_t
    device.paper_gpu_limit.argtypes = [ctypes.c_size_t]
    device.paper_gpu_limit(device.paper_gpu_used() + more)
    try:
        yield
    finally:
        device.paper_gpu_limit(2**32)
