# SPDX-License-Identifier: BSD-3-Clause
"""Commands that die, are stopped, or whose disk fails, at a chosen moment.

A server process imports TensorFlow once and forks a child for each command. In the child every
step of the file layer (:mod:`deepmd_tf.files`: opening, writing, synchronising, renaming, linking,
removing) is counted; one of them may fail, or be the last thing that the child does. Moments
between them are hit by a delay after one of them: TensorFlow writes its files in such a moment.
What others than the file layer write is refused by a limit of the size of files.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import mmap
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

KILL = "kill"
LOSE_POWER = "lose power"
STOP = "stop"
STEPS = ("open", "write", "fsync", "replace", "symlink", "unlink", "ftruncate")
"""Functions of ``os`` by which the file layer acts."""
PATIENCE = 120.0
SEED = int(os.environ.get("DEEPMD_TF_TEST_SEED", "0"))
"""Of the moments: the same in each run of the tests, unless others are asked for."""


class Crashes:
    """The server; use it in a ``with`` statement.

    Parameters
    ----------
    preload
        Modules that are imported once, for all commands.
    """

    def __init__(self, preload: Sequence[str] = ("deepmd_tf.training.entrypoint",)) -> None:
        self._preload = preload

    def __enter__(self) -> Crashes:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "TF_INTER_OP_PARALLELISM_THREADS": "1",
            "DP_INTRA_OP_PARALLELISM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def train(self, folder: Path, *arguments: str, **plan: Any) -> dict[str, Any]:
        """Run ``dp train input.json`` with further arguments; see :meth:`run`."""
        return self.run(folder, "train", "input.json", *arguments, **plan)

    def run(self, folder: Path, *arguments: str, **plan: Any) -> dict[str, Any]:
        """Run ``dp`` in a folder.

        Parameters
        ----------
        folder
            Where it runs.
        *arguments
            The command and its arguments.
        **plan
            ``at``: number of the step of the file layer, counted from 1, in which something
            happens; ``what``: :data:`KILL`, :data:`LOSE_POWER`, :data:`STOP` or the number of an
            error; ``signal``: that of :data:`STOP`; ``delay``: seconds until it is killed, the step
            goes well; ``lasting``: whether all further steps fail, too; ``limit``: files cannot be
            larger than so many bytes; ``saving``: number of a call of TensorFlow's saver, counted
            from 1, from which on they cannot be larger than 100.

        Returns
        -------
        dict
            ``status`` (negative: killed by a signal), ``steps`` of the optimizer, ``operations``
            (steps of the file layer), ``last`` (which was the last of them), ``stderr``.
        """
        request = {"folder": str(folder), "arguments": arguments, "plan": plan}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class _Hooked:
    """``os`` for the file layer."""

    def __init__(
        self,
        folder: str,
        shared: _Shared,
        at: int = -1,
        what: str | int = KILL,
        delay: float | None = None,
        lasting: bool = False,
        signal: int = 0,
    ) -> None:
        self._folder = folder
        self._shared = shared
        self._at, self._what, self._delay, self._lasting = at, what, delay, lasting
        self._signal = signal
        self._synced = dict(self._sizes())

    def __getattr__(self, name: str) -> Any:
        return self._wrap(name) if name in STEPS else getattr(os, name)

    def _wrap(self, name: str) -> Any:
        real = getattr(os, name)

        def step(*arguments: Any, **keys: Any) -> Any:
            number = self._shared.count(name)
            if number == self._at and self._what == STOP:
                os.kill(os.getpid(), self._signal)
            elif number == self._at and self._delay is not None:
                threading.Timer(self._delay, self._die).start()
            elif number == self._at or (self._lasting and number > self._at > 0):
                self._happen(name, arguments)
            result = real(*arguments, **keys)
            if name == "fsync":
                found = os.fstat(arguments[0])
                self._synced[found.st_ino] = found.st_size
            return result

        return step

    def _happen(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "write":
            handle, data = arguments
            os.write(handle, bytes(data[: len(data) // 2]))
        if self._what in (KILL, LOSE_POWER):
            self._die()
        path = arguments[-1] if name in ("replace", "symlink") else arguments[0]
        filename = path if isinstance(path, str | os.PathLike) else None
        raise OSError(self._what, os.strerror(self._what), filename)

    def _die(self) -> None:
        if self._what == LOSE_POWER:
            for path, (inode, size) in self._present():
                synced = self._synced.get(inode, 0)
                if synced < size:
                    os.truncate(path, random.randint(synced, size - 1))
        os.kill(os.getpid(), signal.SIGKILL)

    def _sizes(self) -> Iterator[tuple[int, int]]:
        """Inode and size of what is there, and on disk, before."""
        return (found for _, found in self._present())

    def _present(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    found = os.lstat(path)
                    yield path, (found.st_ino, found.st_size)


class _Shared:
    """Numbers that outlive a child."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 24)

    def count(self, name: str) -> int:
        """One more step of the file layer."""
        number = self._read()[1] + 1
        struct.pack_into("qq", self._memory, 8, number, STEPS.index(name))
        return number

    def count_step(self) -> None:
        """One more step of the optimizer."""
        struct.pack_into("q", self._memory, 0, self._read()[0] + 1)

    def counts(self) -> dict[str, Any]:
        """What has been counted."""
        steps, operations, last = self._read()
        return {"steps": steps, "operations": operations, "last": STEPS[last]}

    def _read(self) -> tuple[int, ...]:
        return struct.unpack("qqq", self._memory)


def _child(request: dict[str, Any], shared: _Shared, messages: int) -> None:
    from deepmd_tf import files
    from deepmd_tf.cli.main import main
    from deepmd_tf.training.interrupt import Deadline

    folder, plan = request["folder"], request["plan"]
    os.chdir(folder)
    for target in (1, 2):
        os.dup2(messages, target)
    saving, limit = plan.pop("saving", None), plan.pop("limit", None)
    files.os = _Hooked(folder, shared, **plan)
    if saving is not None:
        _limit_saver(saving)
    if limit is not None:
        _limit_files(limit)
    took = Deadline.step_took

    def note(self: Deadline, seconds: float) -> None:
        shared.count_step()
        took(self, seconds)

    Deadline.step_took = note
    status = main(["--tf", *request["arguments"]])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _limit_saver(saving: int) -> None:
    from deepmd_tf.graph.saving import SaveOperation

    save, calls = SaveOperation.run, itertools.count(1)

    def limited(*arguments: Any, **keys: Any) -> Any:
        if next(calls) == saving:
            _limit_files(100)
        return save(*arguments, **keys)

    SaveOperation.run = limited


def _serve() -> None:
    from deepmd_tf import log
    from deepmd_tf.ops import library

    log.quiet_tensorflow()
    library.tensorflow()
    for module in sys.argv[1:]:
        importlib.import_module(module)

    for line in sys.stdin:
        request = json.loads(line)
        shared = _Shared()
        # no file: its size may be limited
        outlet, inlet = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                # tests that run in the background are started with this signal ignored
                signal.signal(signal.SIGINT, signal.default_int_handler)
                _child(request, shared, inlet)
            finally:
                traceback.print_exc()
                os._exit(99)
        os.close(inlet)
        timer = threading.Timer(PATIENCE, _kill, [child])
        timer.start()
        with open(outlet, encoding="utf-8", errors="replace") as said:
            text = said.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        timer.cancel()
        timer.join()
        answer = {"status": status, "stderr": text, **shared.counts()}
        print(json.dumps(answer), flush=True)


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    _serve()
