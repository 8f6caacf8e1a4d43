# SPDX-License-Identifier: BSD-3-Clause
"""The kernels compile for the cards that are supported, and their variables fit into registers."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import paper_gpu
import pytest

ROOT = Path(__file__).resolve().parents[2]

SPILLS: dict[tuple[str, str], int] = {}
"""Bytes that variables of a kernel (file, name) may take in memory, stores and loads together, for
the type and architecture where they are most; 0 for those that are not named."""
SHARED = 48 << 10
"""Bytes of a block that every card has."""
TRIED = {12: ("sm_70", "sm_90"), 13: ("sm_120",)}
"""Each compiler for some cards, mostly they say the same; ``DEEPMD_TF_TEST_CARDS=all``: for all."""


def compile_kernels() -> ModuleType:
    path = ROOT / "build_support" / "compile_kernels.py"
    spec = importlib.util.spec_from_file_location("compile_kernels", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


KERNELS = compile_kernels()


def library(cuda: int) -> Path:
    """NVRTC of CUDA 12 or 13 in this environment."""
    found = [path for path in KERNELS.libraries() if path.name == f"libnvrtc.so.{cuda}"]
    assert found, f'no NVRTC of CUDA {cuda}: pip install ".[nvrtc]", as "make test-slow" does'
    return found[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", KERNELS.ARCHITECTURES)
@pytest.mark.parametrize("cuda", [12, 13])
def test_kernels_compile(cuda: int, architecture: str, record_property) -> None:
    everything = os.environ.get("DEEPMD_TF_TEST_CARDS") == "all"
    if not everything and architecture not in TRIED[cuda]:
        pytest.skip("other cards are tried")
    nvrtc = KERNELS.Nvrtc(library(cuda))
    if everything and architecture not in nvrtc.architectures:
        pytest.skip("this compiler does not know the card")
    assert architecture in nvrtc.architectures
    sources, wrong, kernels = KERNELS.texts(ROOT), [], 0
    for file in KERNELS.kernel_files(sources):
        for real in KERNELS.REALS:
            done = nvrtc.compile(sources, file, real, architecture)
            assert not done.log, f"{file} {real}:\n{done.log}"
            kernels += len(done.usage)
            wrong += [
                f"{file} {real} {kernel}"
                for kernel in done.usage
                if kernel.spills > SPILLS.get((file, kernel.kernel), 0) or kernel.shared > SHARED
            ]
    assert not wrong, "\n".join(wrong)
    record_property(
        "counted", ("kernels compiled for GPUs", {f"{architecture}, CUDA {cuda}": kernels})
    )


def test_all_kernels_are_read_from_the_log() -> None:
    log = """ptxas info    : 8 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_90'
ptxas info    : Function properties for one
ptxas         .     16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 128 bytes smem
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers
"""
    assert list(KERNELS.usage_of(log)) == [("one", 32, 20, 16, 128), ("two", 8, 0, 0, 0)]


@pytest.mark.slow
def test_runtime_with_a_real_compiler(tmp_path: Path) -> None:
    """cuda.cc with NVRTC from a wheel; only the driver is no real one."""
    build = paper_gpu.build("use_cuda")
    folder, log = tmp_path / "lib", tmp_path / "log"
    folder.mkdir()
    (folder / "libcuda.so.1").symlink_to(build / "fake_cuda" / "libcuda.so.1")
    environment = os.environ | {
        "LD_LIBRARY_PATH": f"{folder}:{library(12).parent}",
        "DEEPMD_TF_DEVICE": "gpu",
        "DEEPMD_TF_CACHE": str(tmp_path / "cache"),
        "FAKE_CUDA": "cuInit=100",  # NVRTC looks for a card itself, by functions that are no fakes
        "FAKE_CUDA_LOG": str(log),
    }
    environment.pop("DEEPMD_TF_GPU_RUNTIME", None)
    command = [build / "use_cuda", "launch", "launch-double"]
    said = []
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")
        said.append(done.stderr)
    assert re.fullmatch(r"deepmd_tf: compiling .* for Paper 100 \(sm_90, NVRTC 12.*\n", said[0])
    assert said[1] == ""
    assert log.read_text().count("cuModuleLoadData cubin") == 4
    for path in (tmp_path / "cache").iterdir():
        _, _, cubin = path.read_bytes().partition(b"\n")
        assert cubin.startswith(b"\x7fELF")
        assert (b"gather_pairs" if path.name.startswith("pairs") else b"count") in cubin


@pytest.mark.slow
def test_beside_tensorflow(tmp_path: Path) -> None:
    """NVRTC is found where pip puts it, from a TensorFlow that is loaded."""
    import tensorflow as tf

    framework = next(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework.so*"))
    site = framework.resolve().parents[1]
    if not library(12).is_relative_to(site):
        pytest.skip("NVRTC is elsewhere")
    build = paper_gpu.build("use_cuda")
    (tmp_path / "libcuda.so.1").symlink_to(build / "fake_cuda" / "libcuda.so.1")
    done = subprocess.run(
        [build / "use_cuda", "describe"],
        env={"LD_LIBRARY_PATH": str(tmp_path), "LD_PRELOAD": str(framework)},
        capture_output=True,
        text=True,
    )
    assert f"{site}/tensorflow/../nvidia/cuda_nvrtc/lib/libnvrtc.so.12" in done.stdout
