#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Compile the kernels for GPUs as the library does on a machine that has one, with NVRTC only.

compile_kernels.py [FILE.cu ...] [sm_70 ...] [--nvrtc LIBRARY]

Prints errors of the compiler, and per kernel its registers, spills, stack and shared memory.
Without names: all files, for all architectures that this NVRTC knows.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CORE = Path("source") / "core"
ARCHITECTURES = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""From V100 to Blackwell."""
OPTIONS = ("--std=c++17", "--device-as-default-execution-space")
"""As in ``source/core/gpu/cuda/compiler.cc``, and for the numbers ``--ptxas-options=-v``."""
REALS = ("float", "double")


class Usage(NamedTuple):
    """What a kernel takes: registers of a thread, and bytes."""

    kernel: str
    registers: int
    spills: int
    stack: int
    shared: int


class Compiled(NamedTuple):
    """A file for one type and architecture; ``log`` is what the compiler says if it fails."""

    file: str
    real: str
    architecture: str
    usage: list[Usage]
    log: str
    seconds: float


def texts(root: Path) -> dict[str, str]:
    """Files by the name that ``#include`` has: those that are in the library."""
    core = root / CORE
    files = [*(core / "gpu" / "kernels").iterdir(), *(core / "include").glob("*.h")]
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(files) if path.is_file()}


def libraries() -> list[Path]:
    """The NVRTC libraries that pip has installed here."""
    found: list[Path] = []
    for folder in sys.path:
        found += (Path(folder) / "nvidia").glob("c*/lib/libnvrtc.so.1?")
    return sorted(set(found))


class Nvrtc:
    """The compiler in a library."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        numbers = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", *map(ctypes.byref, numbers))
        self.version = f"{numbers[0].value}.{numbers[1].value}"
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", known)
        self.architectures = [name for name in ARCHITECTURES if int(name[3:]) in known]

    def _call(self, name: str, *arguments: object) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise RuntimeError(f"{name}: error {status}")

    def compile(self, sources: dict[str, str], file: str, real: str, architecture: str) -> Compiled:
        """Compile one of ``sources``; the others are headers."""
        begin, program = time.perf_counter(), ctypes.c_void_p()
        strings = ctypes.c_char_p * len(sources)
        names = strings(*[name.encode() for name in sources])
        headers = strings(*[text.encode() for text in sources.values()])
        text = sources[file].encode()
        self._call(
            "nvrtcCreateProgram", ctypes.byref(program), text, file.encode(), len(sources), headers,
            names,
        )  # fmt: skip
        options = [f"--gpu-architecture={architecture}", f"-DDEEPMD_REAL={real}", *OPTIONS]
        options.append("--ptxas-options=-v")
        given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        try:
            failed = self._library.nvrtcCompileProgram(program, len(options), given) != 0
            size = ctypes.c_size_t()
            self._call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
            buffer = ctypes.create_string_buffer(size.value)
            self._call("nvrtcGetProgramLog", program, buffer)
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))
        log = buffer.value.decode(errors="replace")
        usage = sorted(usage_of(log))
        seconds = time.perf_counter() - begin
        return Compiled(file, real, architecture, usage, log if failed else "", seconds)


def usage_of(log: str) -> Iterator[Usage]:
    """What ``--ptxas-options=-v`` says of each kernel."""
    for part in log.split("Compiling entry function ")[1:]:

        def number(pattern: str, part: str = part) -> int:
            found = re.search(pattern, part)
            return int(found[1]) if found else 0

        yield Usage(
            re.findall("'(.*?)'", part)[0],
            number(r"Used (\d+) registers"),
            number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
            number(r"(\d+) bytes stack frame"),
            number(r"(\d+) bytes smem"),
        )


def kernel_files(sources: dict[str, str]) -> list[str]:
    """Names of the files that hold kernels."""
    return [name for name in sources if name.endswith(".cu")]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="FILE.cu|sm_70")
    parser.add_argument(
        "--nvrtc", type=Path, help="library; otherwise those that pip installed here"
    )
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    arguments = parser.parse_args()
    sources = texts(arguments.root)
    names = [Path(name).name for name in arguments.names]
    wanted = [name for name in names if name.startswith("sm_")]
    files = [name if name.endswith(".cu") else f"{name}.cu" for name in names if name not in wanted]
    found = [arguments.nvrtc] if arguments.nvrtc else libraries()
    if not found:
        print("no NVRTC: pip install nvidia-cuda-nvrtc-cu12", file=sys.stderr)
        return 2
    failures = 0
    for path in found:
        nvrtc = Nvrtc(path)
        for architecture in wanted or nvrtc.architectures:
            if architecture not in nvrtc.architectures:
                continue
            for file in files or kernel_files(sources):
                for real in REALS:
                    done = nvrtc.compile(sources, file, real, architecture)
                    failures += bool(done.log)
                    _show(nvrtc.version, done)
    return int(failures > 0)


def _show(version: str, done: Compiled) -> None:
    head = f"NVRTC {version} {done.architecture} {done.file} {done.real}: "
    print(head + ("FAILED" if done.log else f"{done.seconds:.1f} s"))
    if done.log:
        print(done.log)
    for kernel in done.usage:
        spills = f"   {kernel.spills} BYTES OF SPILLS" if kernel.spills else ""
        stack = f"   {kernel.stack} bytes of stack" if kernel.stack else ""
        print(
            f"  {kernel.kernel:32} {kernel.registers:4} registers {kernel.shared:6} bytes shared"
            f"{spills}{stack}"
        )


if __name__ == "__main__":
    sys.exit(main())
