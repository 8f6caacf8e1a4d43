# SPDX-License-Identifier: BSD-3-Clause
"""Programs that are measured: this package and its peers, each in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 600.0
"""Seconds that a process may take, unless told otherwise."""
RESULT = "RESULT "
"""What the line begins with in which a program text gives its result, as JSON."""

VERSIONS = """
import json, platform
from importlib import metadata
found = {"Python": platform.python_version()}
for name in ("deepmd_tf", "deepmd-kit", "tensorflow", "tensorflow-cpu", "torch", "numpy"):
    try:
        found[name.removesuffix("-cpu")] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print("RESULT " + json.dumps(found))
"""


class ProgramError(Exception):
    """A program cannot be started, fails, or takes too long.

    Attributes
    ----------
    output
        All that it printed.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class Line(NamedTuple):
    """What a program printed, and when, in seconds after its start."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Output:
    """All that a program printed, and how long it ran."""

    lines: list[Line]
    seconds: float

    @property
    def text(self) -> str:
        """Everything."""
        return "".join(line.text for line in self.lines)

    @property
    def result(self) -> Any:
        """Of a program text that prints one."""
        found = [line.text for line in self.lines if line.text.startswith(RESULT)]
        return json.loads(found[-1].removeprefix(RESULT))


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout: float = TIMEOUT,
) -> Output:
    """Run a program to its end.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        It runs in.
    environment
        All its variables.
    timeout
        Seconds after which it is killed, with everything that it started.

    Raises
    ------
    ProgramError
        With one line that says what went wrong.
    """
    name = " ".join(_shorten(part) for part in command)
    begin = time.perf_counter()
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramError(f"{command[0]} cannot be started: {error.strerror}") from None
    late = threading.Event()

    def kill() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(timeout, kill)
    timer.start()
    lines = []
    try:
        for text in process.stdout:
            lines.append(Line(time.perf_counter() - begin, text))
        status = process.wait()
    except BaseException:
        _kill(process)
        raise
    finally:
        timer.cancel()
        process.stdout.close()
    output = Output(lines, time.perf_counter() - begin)
    if late.is_set():
        raise ProgramError(f"{name}: killed after {timeout:.0f} s", output.text)
    if status:
        spoken = [text.strip() for _, text in lines if text.strip()]
        last = spoken[-1] if spoken else "nothing was printed"
        end = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
        raise ProgramError(f"{name}: {end}: {last}", output.text)
    return output


def _shorten(part: str) -> str:
    """An argument as a message names it: programs by name, program texts by dots."""
    return "..." if "\n" in part else Path(part).name if part.startswith("/") else part


def _kill(process: subprocess.Popen) -> None:
    """Kill the process and its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def environment(python: str, threads: int, **further: str) -> dict[str, str]:
    """Variables of a process with a number of threads, with the programs beside ``python`` first.

    This package is the one that the present process imports. Bytecode is written, as of a package
    that is installed. Peers may run as many operations at a time as there are threads, which is
    their default if these are all processors; this package has its own default.
    """
    count, unwanted = str(threads), ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    variables = {k: v for k, v in os.environ.items() if k not in unwanted}
    if python == sys.executable:
        variables["PYTHONPATH"] = str(Path(find_spec("deepmd_tf").origin).parents[1])
        variables.pop("DP_INTER_OP_PARALLELISM_THREADS", None)
        variables.pop("TF_INTER_OP_PARALLELISM_THREADS", None)
    else:
        variables["DP_INTER_OP_PARALLELISM_THREADS"] = count
    return variables | {
        "PATH": f"{Path(python).absolute().parent}:{os.environ.get('PATH', '')}",
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "DP_INTRA_OP_PARALLELISM_THREADS": count,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **further,
    }


@dataclass(frozen=True)
class Program:
    """This package or a peer.

    Attributes
    ----------
    name
        In tables.
    python
        Of its environment.
    backend
        Option of ``dp``.
    timeout
        Seconds for each process.
    """

    name: str
    python: str
    backend: str = "--tf"
    timeout: float = TIMEOUT

    @property
    def folder(self) -> Path:
        """Of its programs."""
        return Path(self.python).absolute().parent

    @property
    def is_ours(self) -> bool:
        """Whether it is this package."""
        return self.python == sys.executable

    def dp(self, folder: Path, *arguments: str, threads: int) -> Output:
        """Run ``dp``; see :func:`run`."""
        command = [self.python, "-m", "deepmd_tf.cli.main"]
        if not self.is_ours:
            command = [str(self.folder / "dp")]
        return self.run([*command, self.backend, *arguments], folder, threads)

    def evaluate(self, text: str, folder: Path, *arguments: str, threads: int) -> Any:
        """Run a program text; the result that it printed."""
        return self.run([self.python, "-c", text, *arguments], folder, threads).result

    def run(self, command: Sequence[str], folder: Path, threads: int, **variables: str) -> Output:
        """Run a command in the environment of the program; see :func:`run`."""
        variables = environment(self.python, threads, **variables)
        return run(command, folder, variables, self.timeout)

    def versions(self) -> dict[str, str]:
        """Of the packages that matter here."""
        return self.evaluate(VERSIONS, Path.cwd(), threads=1)


def ours(timeout: float = TIMEOUT) -> Program:
    """This package, in the present environment."""
    return Program("ours", sys.executable, timeout=timeout)


def stock(python: str, timeout: float = TIMEOUT) -> Program:
    """DeePMD-kit with TensorFlow."""
    # programs run in folders of their own; a link, as environments have, is not followed
    return Program("stock", os.path.abspath(python), timeout=timeout)


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Run a script and end this process; where a program fails, with the last that it printed."""
    try:
        sys.exit(main())
    except ProgramError as error:
        sys.exit(f"{error}\n{error.output[-3000:]}")
