# SPDX-License-Identifier: BSD-3-Clause
"""The runtime of CUDA beside libraries that only have its names (``source/tests/gpu``)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paper_gpu
import pytest

LAUNCH = "cuLaunchKernel count 7 1 128 0 42"
"""Name, blocks, blocks along y and z, threads, dynamic shared memory, first argument."""


class Done:
    """What a process did: lines that it printed, lines on standard error, and its calls."""

    def __init__(self, done: subprocess.CompletedProcess, log: Path) -> None:
        assert done.returncode == 0, done.stdout + done.stderr
        self.printed = done.stdout.splitlines()
        self.said = done.stderr.splitlines()
        lines = log.read_text().splitlines() if log.exists() else []
        self.calls = [line for line in lines if "Ctx" not in line]
        self.contexts = [line for line in lines if "Ctx" in line]

    def count(self, name: str) -> int:
        return sum(line.split()[0] == name for line in self.calls)


Run = Callable[..., Done]

CUDA = Path("/usr/local/cuda/lib64")
REAL = [path for name in ("nvrtc", "cublas") for path in CUDA.glob(f"lib{name}.so.1?")]
no_real_ones = pytest.mark.skipif(bool(REAL), reason="there are real libraries of CUDA")


@pytest.fixture
def cuda(tmp_path: Path) -> Run:
    """A function that runs steps with settings of the fake libraries and environment variables."""
    program = paper_gpu.build("use_cuda")
    here = {k: v for k, v in os.environ.items() if not k.startswith(("DEEPMD_TF_", "XDG_"))}

    def run(*steps: str, settings: str = "", **variables: str | None) -> Done:
        log = tmp_path / f"log{len(list(tmp_path.glob('log*')))}-{steps}"
        environment = here | {
            "HOME": str(tmp_path / "home"),
            "LD_LIBRARY_PATH": str(program / "fake_cuda"),
            "DEEPMD_TF_DEVICE": "gpu",
            "DEEPMD_TF_CACHE": str(tmp_path / "cache"),
            "FAKE_CUDA": settings,
            "FAKE_CUDA_LOG": str(log),
        }
        environment |= {k: v for k, v in variables.items() if v is not None}
        for name in (k for k, v in variables.items() if v is None):
            del environment[name]
        done = subprocess.run(
            [program / "use_cuda", *steps], env=environment, capture_output=True, text=True
        )
        return Done(done, log)

    return run


def cubins(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.cubin"))


def test_cold_and_warm(cuda: Run, tmp_path: Path) -> None:
    first = cuda("launch", "launch", "launch-double")
    assert first.said == [
        "deepmd_tf: compiling kernels for Paper 100 (sm_90, NVRTC 12.3), some seconds; "
        f"they are kept in {tmp_path / 'cache'}"
    ]
    assert first.count("nvrtcCompileProgram") == first.count("cuModuleLoadData") == 2
    assert first.calls.count(LAUNCH) == 2
    assert first.contexts == ["cuCtxPushCurrent", "cuCtxPopCurrent"] * 3
    assert [path.name.rsplit("-", 1)[0] for path in cubins(tmp_path / "cache")] == [
        "pairs-double-sm_90",
        "sort-float-sm_90",
    ]
    second = cuda("launch", "launch", "launch-double")
    assert second.said == second.printed == []
    assert second.count("nvrtcCompileProgram") == 0
    assert second.count("cuModuleLoadData") == 2


def test_options(cuda: Run) -> None:
    """As written in build_support/compile_kernels.py, too."""
    (call,) = (c for c in cuda("launch").calls if c.startswith("nvrtcCompileProgram"))
    written = (Path(__file__).resolve().parents[2] / "build_support/compile_kernels.py").read_text()
    assert "-DDEEPMD_REAL=float" in call and "--gpu-architecture=sm_90" in call
    others = [o for o in call.split()[1:] if not o.startswith(("-D", "--gpu"))]
    assert "OPTIONS = (" + ", ".join(f'"{option}"' for option in others) + ")" in written


@pytest.mark.parametrize(
    "settings", ["", "knows=86"], ids=["another compiler", "another architecture"]
)
def test_what_a_cubin_depends_on(cuda: Run, tmp_path: Path, settings: str) -> None:
    cuda("launch", settings="card=86 knows=80" if settings else "knows=86")
    assert cuda("launch", settings=f"card=86 {settings}").count("nvrtcCompileProgram") == 1
    assert len(cubins(tmp_path / "cache")) == 2


@pytest.mark.parametrize("how", ["cut", "changed", "foreign", "empty", "folder"])
def test_broken_cubin(cuda: Run, tmp_path: Path, how: str) -> None:
    cuda("launch")
    (path,) = cubins(tmp_path / "cache")
    whole = path.read_bytes()
    if how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "cut": whole[:-7],
                "changed": whole[:-7] + b"X" + whole[-6:],
                "foreign": whole.replace(path.stem.rsplit("-")[-1].encode(), b"0" * 16),
                "empty": b"",
            }[how]
        )
    done = cuda("launch")
    assert done.count("nvrtcCompileProgram") == 1
    assert done.calls[-1] == LAUNCH
    assert how == "folder" or path.read_bytes() == whole
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [path.name]


def test_the_driver_refuses_a_cubin(cuda: Run, tmp_path: Path) -> None:
    """What fits its key but not this driver is compiled again, once."""
    cuda("launch")
    done = cuda("launch", settings="cuModuleLoadData=209")
    assert done.count("nvrtcCompileProgram") == 1
    assert done.count("cuModuleLoadData") == 2
    (line,) = done.printed
    assert "could not load the kernels sort.cu (CUDA_ERROR" in line and "newer driver" in line


def test_two_processes_at_once(cuda: Run, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        steps = [["launch"], ["launch", "launch"], ["launch", "launch", "launch"]]
        both = list(pool.map(lambda s: cuda(*s, settings="slow=300"), steps))
    assert all(done.calls[-1] == LAUNCH for done in both)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert cuda("launch").count("nvrtcCompileProgram") == 0


def test_threads(cuda: Run) -> None:
    """Each file is compiled once for both contexts, and loaded once in each."""
    done = cuda("threads", settings="slow=100")
    assert done.printed == []
    assert done.count("cuLaunchKernel") == 160
    assert done.count("cuModuleLoadData") == 4
    assert done.count("cuModuleGetFunction") >= 4
    assert len(done.said) == 1


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"DEEPMD_TF_CACHE": None}, "home/.cache/deepmd_tf"),
        ({"DEEPMD_TF_CACHE": ""}, "home/.cache/deepmd_tf"),
        ({"DEEPMD_TF_CACHE": None, "XDG_CACHE_HOME": "{}/x/y"}, "x/y/deepmd_tf"),
        ({"DEEPMD_TF_CACHE": "{}/z", "XDG_CACHE_HOME": "{}/x/y"}, "z"),
    ],
)
def test_folder(cuda: Run, tmp_path: Path, variables: dict, folder: str) -> None:
    cuda("launch", **{k: v and v.format(tmp_path) for k, v in variables.items()})
    assert len(cubins(tmp_path / folder)) == 1


@pytest.mark.parametrize("where", ["/proc/nowhere", "/dev/null", None])
def test_folder_that_cannot_be_written(cuda: Run, where: str | None) -> None:
    done = cuda("launch", DEEPMD_TF_CACHE=where, **({} if where else {"HOME": None}))
    assert done.calls[-1] == LAUNCH
    assert done.printed == []


def test_failing_compile(cuda: Run, tmp_path: Path) -> None:
    done = cuda("launch", "launch", settings="nvrtcCompileProgram=6")
    assert done.count("nvrtcCompileProgram") == 1  # it is not tried again
    assert done.printed[0] == done.printed[1]
    log = tmp_path / "cache" / "sort-float-sm_90.cubin.log"
    assert done.printed[0] == (
        "error: NVRTC 12.3 does not compile the kernels sort.cu for this GPU (sm_90); "
        f"what it says is in {log}; please report it. DEEPMD_TF_DEVICE=cpu runs on the processor"
    )
    text = log.read_text()
    assert "expected a ';'" in text and "NVRTC 12.3" in text and "--std=c++17" in text
    assert cubins(tmp_path / "cache") == []


def test_log_of_a_failing_compile_without_a_cache(cuda: Run, tmp_path: Path) -> None:
    settings = {"DEEPMD_TF_CACHE": "/proc/nowhere", "TMPDIR": str(tmp_path / "scratch")}
    done = cuda("launch", settings="nvrtcCompileProgram=6", **settings)
    assert f"{tmp_path}/scratch/sort-float-sm_90.cubin.log" in done.printed[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("cuLaunchKernel=719", "run the kernel count of sort.cu .*LAUNCH_FAILED.*report it"),
        ("cuModuleGetFunction=1", "load the kernel count of sort.cu"),
        ("cuStreamGetCtx=400", "tell whose a stream is"),
        ("card=61", r"\(sm_61\) is older .*V100 \(sm_70\)"),
    ],
)
def test_errors_of_a_launch(cuda: Run, settings: str, words: str) -> None:
    done = cuda("launch", settings=settings)
    (line,) = done.printed
    assert line.startswith("error: ") and re.search(words, line)
    assert "DEEPMD_TF_DEVICE=cpu" in line
    assert done.contexts[-1:] in ([], ["cuCtxPopCurrent"])


@pytest.mark.parametrize(
    "failing", ["cuLaunchKernel", "cuModuleLoadData", "cuMemcpyHtoDAsync", "cublasDgemm"]
)
def test_out_of_memory(cuda: Run, failing: str) -> None:
    number = 3 if failing.startswith("cublas") else 2
    (line,) = cuda("launch", "copies", "multiply", settings=f"{failing}={number}").printed
    assert line.startswith("out of memory: ") and "smaller batches" in line


def test_limits(cuda: Run) -> None:
    done = cuda(
        "launch-shared",
        "launch-most",
        "launch-many",
        "launch-unknown",
        "launch-no-file",
        "launch-no-stream",
    )
    assert [line.split(": ", 1)[1] for line in done.printed] == [
        "the kernel count of sort.cu has too many blocks or threads; use smaller batches",
        "there is no kernel nothing of sort.cu",
        "there is no file of kernels nothing.cu",
        "this TensorFlow does not say what its stream on the GPU is",
    ]
    assert "cuFuncSetAttribute 8 100000" in done.calls
    assert "cuLaunchKernel count 2147483647 1 128 0 42" in done.calls


def test_copies(cuda: Run) -> None:
    """Copies from the host are not waited for; memory for them is used again when they are done."""
    done = cuda("copies")
    assert done.printed == []
    assert done.count("cuMemcpyHtoDAsync") == 3
    assert done.count("cuMemAllocHost") == 2
    assert done.count("cuStreamSynchronize") == 1
    assert cuda("copies", settings="cuEventQuery=600").count("cuMemAllocHost") == 3


def test_products(cuda: Run) -> None:
    done = cuda("multiply")
    assert done.printed == []
    assert done.count("cublasCreate") == 1
    assert "cublasSetStream 1" in done.calls
    modes = [c for c in done.calls if c.startswith(("cublasSetMathMode", "cublasSg", "cublasDg"))]
    # no tensor cores for float, whatever their rounding is
    assert modes[:4] == ["cublasDgemm", "cublasSetMathMode 2", "cublasSgemm", "cublasSetMathMode 0"]


@no_real_ones
def test_no_cublas(cuda: Run, tmp_path: Path) -> None:
    """Nothing but products needs it."""
    library = paper_gpu.build("use_cuda") / "fake_cuda"
    for name in ("libcuda.so.1", "libnvrtc.so.12"):
        (tmp_path / name).symlink_to(library / name)
    done = cuda("launch", "multiply", LD_LIBRARY_PATH=str(tmp_path))
    assert LAUNCH in done.calls
    assert done.printed == [
        "error: cuBLAS (libcublas.so.12) is not found: pip install nvidia-cublas-cu12"
    ]


NO_DRIVER = "there is no NVIDIA driver (libcuda.so.1)"
OLD = (
    "the NVIDIA driver is for CUDA 11.4; CUDA 12.0 is needed, that is driver 525 or newer: "
    "install a newer driver"
)


@pytest.fixture
def no_driver(tmp_path: Path) -> str:
    """A folder in which the linker finds a driver that is none."""
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "libcuda.so.1").write_text("not a library")
    return str(tmp_path / "none")


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"LD_LIBRARY_PATH": "none"}, f"DEEPMD_TF_DEVICE is gpu, but {NO_DRIVER}"),
        ({"FAKE_CUDA": "version=11040"}, f"DEEPMD_TF_DEVICE is gpu, but {OLD}"),
        ({"DEEPMD_TF_DEVICE": "gpus"}, 'DEEPMD_TF_DEVICE is "gpus", expected cpu or gpu'),
        (
            {"DEEPMD_TF_GPU_RUNTIME": "/nowhere.so"},
            "DEEPMD_TF_DEVICE is gpu, but DEEPMD_TF_GPU_RUNTIME=/nowhere.so: /nowhere.so: cannot "
            "open shared object file: No such file or directory",
        ),
    ],
)
def test_no_runtime(cuda: Run, no_driver: str, variables: dict, why: str) -> None:
    """A program without Python says so itself."""
    if "LD_LIBRARY_PATH" in variables:
        variables = {"LD_LIBRARY_PATH": no_driver}
    done = cuda("launch", **variables)
    assert done.printed == [f"none: {why}"]
    assert done.said == [f"deepmd_tf WARNING: operations run on the processor: {why}"]
    assert done.calls == []


@pytest.mark.parametrize(
    ("word", "why"), [(None, "is not set"), ("", "is not set"), ("cpu", "is cpu")]
)
def test_not_asked_for(cuda: Run, word: str | None, why: str) -> None:
    done = cuda("launch", DEEPMD_TF_DEVICE=word)
    assert done.printed == [f"none: DEEPMD_TF_DEVICE {why}"]
    assert done.said == done.calls == []


def only_driver(tmp_path: Path) -> Path:
    folder = tmp_path / "driver"
    folder.mkdir()
    library = paper_gpu.build("use_cuda") / "fake_cuda" / "libcuda.so.1"
    (folder / "libcuda.so.1").symlink_to(library)
    return folder


@no_real_ones
def test_no_nvrtc(cuda: Run, tmp_path: Path) -> None:
    folder = only_driver(tmp_path)
    (line,) = cuda("launch", LD_LIBRARY_PATH=str(folder)).printed
    assert line == (
        "none: DEEPMD_TF_DEVICE is gpu, but no NVRTC is found, which compiles kernels (there is no "
        "libnvrtc.so.12): pip install nvidia-cuda-nvrtc-cu12"
    )
    line = cuda("launch", LD_LIBRARY_PATH=str(folder), settings="version=13000").printed[0]
    assert "there is no libnvrtc.so.12, there is no libnvrtc.so.13" in line


def architecture(done: Done) -> tuple[str, str]:
    """What was compiled for, and how it was loaded."""
    option = next(c for c in done.calls if c.startswith("nvrtcCompileProgram"))
    found = re.search(r"--gpu-architecture=(\S+)", option)
    load = next(c for c in done.calls if c.startswith("cuModuleLoadData"))
    assert found is not None
    return found[1], load.split()[1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("card=90", ("sm_90", "cubin")),
        ("card=75", ("sm_70", "cubin")),  # of the same generation
        ("card=89 knows=86", ("sm_86", "cubin")),
        ("card=120", ("compute_90", "PTX")),  # newer than the compiler: the driver does the rest
        ("card=120 version=13000", ("sm_120", "cubin")),  # NVRTC 13 knows it
        ("card=120 version=12080", ("compute_90", "PTX")),  # but this driver does not take it
        ("card=70 version=13000", ("sm_70", "cubin")),
        ("card=90 version=13000", ("sm_90", "cubin")),
    ],
)
def test_architectures(cuda: Run, settings: str, expected: tuple[str, str]) -> None:
    build = paper_gpu.build("use_cuda")
    both = f"{build / 'fake_cuda'}:{build / 'fake_cuda_13'}"
    done = cuda("launch", settings=settings, LD_LIBRARY_PATH=both)
    assert architecture(done) == expected
    assert done.calls[-1] == LAUNCH
    assert cuda("launch", settings=settings, LD_LIBRARY_PATH=both).calls[-1] == LAUNCH


@no_real_ones
def test_no_compiler_for_an_old_card(cuda: Run, tmp_path: Path) -> None:
    """NVRTC 13 knows nothing older than its own."""
    build, folder = paper_gpu.build("use_cuda"), only_driver(tmp_path)
    path = f"{folder}:{build / 'fake_cuda_13'}"
    (line,) = cuda("launch", settings="version=13000 card=70", LD_LIBRARY_PATH=path).printed
    assert "no NVRTC that compiles for this GPU (sm_70): pip install nvidia-cuda-nvrtc-cu12" in line


def test_description(cuda: Run, tmp_path: Path, no_driver: str) -> None:
    build = paper_gpu.build("use_cuda")
    done = cuda("describe", DEEPMD_TF_DEVICE="cpu")
    assert done.printed[1:] == [
        "driver\tfor CUDA 12.4 and older",
        "card\tPaper 100, sm_90, 81920 MiB",
        f"NVRTC\t12.3 ({build}/fake_cuda/libnvrtc.so.12)",
        f"cuBLAS\t{build}/fake_cuda/libcublas.so.12",
        f"cache\t{tmp_path}/cache",
    ]
    assert done.calls == ["cuInit", "cuDeviceGetCount"]
    for settings, expected in (
        ("cards=0", "!card\tthe driver knows no GPU; is CUDA_VISIBLE_DEVICES set?"),
        ("cuInit=100", "!card\tCUDA_ERROR_OF_SOME_KIND: words of the driver"),
        ("card=61", "!card\tPaper 100, sm_61, 81920 MiB: too old, sm_70 or newer is needed"),
        ("version=11040", f"!driver\t{OLD}"),
    ):
        assert expected in cuda("describe", settings=settings).printed
    bare = cuda("describe", LD_LIBRARY_PATH=no_driver).printed[1:]
    assert bare == [f"!driver\t{NO_DRIVER}", f"cache\t{tmp_path}/cache"]
