# SPDX-License-Identifier: BSD-3-Clause
"""One training at a time writes its files into a folder.

Beside the files of a training stands a hidden one while it runs, which says who it is: machine,
process, beginning. It is locked, and touched every :data:`BEAT` seconds. The lock of a process that
has died is gone by itself, and where a file system knows no locks, or does not pass them on to
other machines, the file tells: whether a process of the same machine lives can be looked up, and
that of another machine lives if it touches the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from deepmd_tf.errors import TrainingError
from deepmd_tf.training.outputs import PlannedFile

log = logging.getLogger(__name__)

LOCK = ".training.lock"
"""Name of the file in a folder of checkpoints."""
BEAT = 10.0
"""Seconds after which the file is touched again."""
SILENCE = 60.0
"""Seconds without a touch after which a training on another machine counts as dead."""
_WRITING = 1.0
"""Seconds that a training may take from making the file to saying who it is."""


@dataclass(frozen=True)
class Holder:
    """A process that trains.

    Attributes
    ----------
    host, user, pid
        Where it runs, for whom, and its number there.
    since
        When the training began: date and time with the offset of the time zone.
    machine
        The running system and the name space in which ``pid`` counts.
    begin
        When the process began, in ticks since the start of that system: a number of a process is
        used again.
    """

    host: str
    user: str
    pid: int
    since: str
    machine: str
    begin: str

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        pid = os.getpid()
        return cls(
            socket.gethostname(),
            _user(),
            pid,
            time.strftime("%Y-%m-%d %H:%M:%S %z"),
            _machine(),
            _begin(pid) or "",
        )

    @classmethod
    def read(cls, handle: int) -> Holder | None:
        """Who is written in the file; None if it is not a whole entry."""
        try:
            return cls(**json.loads(os.pread(handle, 10_000, 0)))
        except (ValueError, TypeError):
            return None

    def write(self, handle: int) -> None:
        """Write it into an empty file."""
        os.pwrite(handle, json.dumps(asdict(self)).encode(), 0)

    @property
    def is_local(self) -> bool:
        """Whether it can be looked up here."""
        return self.machine == _machine()

    @property
    def is_there(self) -> bool:
        """Whether a process of this machine exists."""
        return self.begin != "" and _begin(self.pid) == self.begin

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.since}"


@contextmanager
def held(outputs: Iterable[PlannedFile]) -> Iterator[None]:
    """Let no other training write these files while the block runs.

    Folders of checkpoints are held as a whole, since the list of checkpoints is one for each
    folder; of files elsewhere each one. Folders that are missing are made, and removed again if
    nothing was written. What cannot be locked because it cannot be written is left to those who
    write it.

    Raises
    ------
    TrainingError
        When another training holds one of them; the message says which, and what to do.
    """
    own = [o for o in outputs if o.own and (o.makes_folders or o.path.parent.is_dir())]
    folders = {output.path.parent for output in own if output.kind == "prefix"}
    files = {output.path for output in own if output.kind == "file"}
    paths = {folder.resolve(): folder / LOCK for folder in folders}
    for file in files:
        if file.parent.resolve() not in paths:
            paths[file.resolve()] = file.with_name(f".{file.name}.lock")
    with ExitStack() as stack:
        # always in the same order, so that of two trainings one has all
        for _, path in sorted(paths.items()):
            with contextlib.suppress(OSError):
                stack.enter_context(_folder(path.parent))
                stack.enter_context(_locked(path))
        yield


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make a folder, and remove it if it is empty afterwards."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock ``path``."""
    handle = _acquire(path)
    ended = threading.Event()
    beat = threading.Thread(target=_touch, args=(handle, ended), daemon=True, name="lock")
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        # before the lock is given up: nobody else can have taken it
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(handle)


def _touch(handle: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(handle)


def _acquire(path: Path) -> int:
    """Make the file, that of a dead training removed, and write there who holds it; its handle.

    Raises
    ------
    TrainingError
        When another training holds it.
    OSError
        When it cannot be written.
    """
    while True:
        handle, new = _open(path)
        try:
            if not _lock(handle):
                raise _refusal(path, _entry(handle))
            there = _is_at(handle, path)  # or else its holder has removed it meanwhile
            if new and there:
                Holder.here().write(handle)
                return handle
            if there:
                _require_dead(path, handle)
                os.unlink(path)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _open(path: Path) -> tuple[int, bool]:
    """The file, and whether this call has made it."""
    while True:
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        with contextlib.suppress(FileNotFoundError):
            try:
                return os.open(path, os.O_RDWR), False
            except PermissionError:  # of another user, in a folder for several
                return os.open(path, os.O_RDONLY), False


def _lock(handle: int) -> bool:
    """Lock a file; False if another process has locked it. File systems without locks say yes."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _entry(handle: int) -> Holder | None:
    """Who holds a file; it may be about to write that."""
    end = time.monotonic() + _WRITING
    while (found := Holder.read(handle)) is None and time.monotonic() < end:
        time.sleep(0.02)
    return found


def _require_dead(path: Path, handle: int) -> None:
    """See that who is written in a file that could be locked does not live."""
    holder = _entry(handle)
    if holder is None:
        return
    if holder.is_local:
        if holder.is_there:
            raise _refusal(path, holder)
    elif _is_touched(path, holder):
        raise _refusal(path, holder)
    log.info(
        "%s: a training ended here without its last words (%s); this one takes its place",
        path.parent,
        holder,
    )


def _is_touched(path: Path, holder: Holder) -> bool:
    """Whether a training on another machine touches its file, waiting up to :data:`SILENCE`."""
    first = os.stat(path).st_mtime_ns
    waiting = False
    while _now(path.parent) - first < SILENCE * 1e9:
        if not waiting:
            log.info(
                "%s: seeing for up to %.0f s whether a training on another machine still runs (%s)",
                path.parent,
                SILENCE,
                holder,
            )
            waiting = True
        time.sleep(1.0)
        # opened anew, since network file systems keep what they know of a file
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mtime_ns != first:
                return True
    return False


def _now(folder: Path) -> int:
    """Present time as the machine counts it that has the files, in nanoseconds."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _refusal(path: Path, holder: Holder | None) -> TrainingError:
    what = path.parent if path.name == LOCK else path.with_name(path.name[1:-5])
    who = f" ({holder})" if holder else ""
    remove = ""
    if holder is None or not holder.is_local:
        remove = f"; if that one does not run any more, remove {path}"
    return TrainingError(
        f"{what.absolute()}: another training{who} is writing here, and would lose its files; wait "
        f"for its end, stop it, or train in another folder{remove}"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        return f"user {os.getuid()}"


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _begin(pid: int) -> str | None:
    """When a process began; None if there is no such process, or it is dead."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            # the name of the program, in brackets, may hold anything
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else words[19]
