# SPDX-License-Identifier: BSD-3-Clause
"""Sees that all ranks live, so that none waits for ever for one that has died.

Each rank has a connection to rank 0. The system closes that of a process which dies, at once. A
machine that vanishes says nothing: who is not heard of for :data:`SILENCE` seconds counts as dead.
Then all end, and one says why.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence

from deepmd_tf.parallel.addresses import addresses
from deepmd_tf.parallel.launch import EXIT_ERROR

BEAT = 3.0
"""Seconds after which a rank lets hear of it."""
SILENCE = 40.0
"""Seconds without a word after which it counts as dead."""
GRACE = 10.0
"""Seconds that a rank has to end by itself; then it is ended."""
CONNECTING = 10.0
"""Seconds to reach rank 0 in."""

RESTART = "Checkpoints written before are intact: go on with --restart"
AGAIN = "Start them again"
"""What to do when a rank has died."""

_HELLO, _ALIVE, _ERROR, _DONE, _QUIT = (bytes([c]) for c in b"hbedq")
_HEAD = struct.Struct("!cI")


class Watch:
    """The part of this in one rank.

    Attributes
    ----------
    lost
        Set when the ranks are to end because one has.
    reason
        Why, for the user.
    silence
        :data:`SILENCE`.
    remedy
        What to do then, :data:`RESTART` or :data:`AGAIN`.
    """

    silence = SILENCE
    remedy = RESTART

    def __init__(self) -> None:
        self.lost = threading.Event()
        self.reason = ""
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def _lose(self, reason: str, *, speaks: bool) -> None:
        """End this rank, at the latest in :data:`GRACE` seconds."""
        with self._lock:
            if self.lost.is_set() or self._ended.is_set():
                return
            self.reason = reason
            self.lost.set()
        timer = threading.Timer(GRACE, self._end_now, (speaks,))
        timer.daemon = True
        timer.start()

    def _end_now(self, speaks: bool) -> None:
        if self._ended.is_set():
            return
        if speaks:
            self._say()
        os._exit(EXIT_ERROR)

    def _say(self) -> None:
        print(f"dp: error: {self.reason}", file=sys.stderr, flush=True)


class Hub(Watch):
    """That of rank 0, to which the others connect.

    Parameters
    ----------
    token
        What the others know; nobody else is listened to.

    Attributes
    ----------
    absent
        How many ranks could not connect, so that they will not say when they are done.
    """

    absent = 0

    def __init__(self, token: bytes) -> None:
        super().__init__()
        self.token = token
        self._names: Sequence[str] = ()
        self._well = 0
        self._members: dict[int, _Connection] = {}
        self._closing = threading.Event()
        self._all_done = threading.Event()
        self._server = socket.create_server(("", 0), backlog=1024)
        self._server.setblocking(False)

    @property
    def places(self) -> tuple[list[str], int]:
        """Addresses of this machine, and the port."""
        return addresses(), int(self._server.getsockname()[1])

    def start(self, names: Sequence[str]) -> None:
        """Listen; ``names`` are the ranks in words."""
        self._names = names
        threading.Thread(target=self._run, daemon=True, name="watch").start()

    def fail(self) -> None:
        """Rank 0 is about to end with an error, which it says itself."""
        self._ended.set()
        for member in list(self._members.values()):
            member.send(_QUIT)

    def close(self) -> None:
        """All is done; waits until the others say so too."""
        self._ended.set()
        self._closing.set()
        self._all_done.wait(GRACE)
        self._server.close()

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._server, selectors.EVENT_READ)
        done: set[int] = set()
        beat = time.monotonic()
        # connections to ranks that have failed stay until this process ends: it tells of the error
        while not self._is_over(done):
            for key, _ in selector.select(BEAT):
                if key.data is None:
                    self._accept(selector)
                    continue
                if not self._listen(key.data, done):
                    selector.unregister(key.fileobj)
                    key.data.close()
            if time.monotonic() - beat > BEAT:
                beat = time.monotonic()
                self._look(done)
        for key in list(selector.get_map().values()):
            if key.data is not None:
                key.data.close()
        selector.close()
        self._all_done.set()

    def _is_over(self, done: set[int]) -> bool:
        """Whether all have said that all is done, or have ended when this is closed."""
        others = len(self._names) - 1 - self.absent
        return self._well >= others or (self._closing.is_set() and len(done) >= others)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(OSError):
            one, _ = self._server.accept()
            selector.register(one, selectors.EVENT_READ, _Connection(one))

    def _listen(self, member: _Connection, done: set[int]) -> bool:
        """Take what a member says; False if it is gone, or a stranger."""
        alive = member.receive()
        for kind, text in member.take():
            if member.rank < 0:
                if kind != _HELLO or text[:-4] != self.token:
                    return False
                member.rank = int.from_bytes(text[-4:], "big")
                self._members[member.rank] = member
                member.send(_ALIVE)
            elif kind == _ERROR:
                self._lose(text.decode(errors="replace"), speaks=True)
                done.add(member.rank)
            elif kind == _DONE:
                done.add(member.rank)
                self._well += 1
        if not alive and member.rank >= 0 and member.rank not in done:
            done.add(member.rank)
            self._gone(member.rank, "has died: it was killed, maybe for want of memory")
        return alive

    def _look(self, done: set[int]) -> None:
        """Let the others hear, and see who has not been heard of."""
        for rank, member in list(self._members.items()):
            if rank in done:
                continue
            member.send(_ALIVE)
            if time.monotonic() - member.heard > SILENCE:
                done.add(rank)
                self._gone(rank, f"has not been heard of for {SILENCE:.0f} s")

    def _gone(self, rank: int, what: str) -> None:
        self._lose(
            f"{self._names[rank]} {what}, so the others end too. {self.remedy}",
            speaks=True,
        )


class Follower(Watch):
    """That of any other rank.

    Parameters
    ----------
    rank
        Which one.
    speaks
        Whether it says so if rank 0 dies.
    """

    def __init__(self, rank: int, speaks: bool) -> None:
        super().__init__()
        self._rank = rank
        self._speaks = speaks
        self._connection: _Connection | None = None
        self._leader = ""
        self._gone = threading.Event()
        self._says = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch")

    def connect(self, found: Sequence[str], port: int, token: bytes, leader: str) -> bool:
        """Connect to rank 0 (addresses, port; in words); whether that was possible."""
        self._leader = leader
        end = time.monotonic() + CONNECTING
        while time.monotonic() < end:
            for address in found:
                with contextlib.suppress(OSError):
                    connection = _Connection(socket.create_connection((address, port), BEAT))
                    connection.send(_HELLO, token + self._rank.to_bytes(4, "big"))
                    # only rank 0 answers, whoever else listens at such an address
                    if connection.receive() and connection.take():
                        self._connection = connection
                        self._thread.start()
                        return True
                    connection.close()
            time.sleep(0.2)
        return False

    def fail(self, text: str | None) -> None:
        """End: tell rank 0 why, unless it knows, and wait until it has ended."""
        if self._connection is not None:
            if text is not None:
                self._connection.send(_ERROR, text.encode())
            self._gone.wait(GRACE)
            if self._says:
                self._say()

    def close(self) -> None:
        """All is done."""
        self._ended.set()
        if self._connection is not None:
            self._connection.send(_DONE)
            self._thread.join(GRACE)
            self._connection.close()

    def _run(self) -> None:
        connection = self._connection
        assert connection is not None
        quits = False
        while not self._ended.is_set():
            connection.send(_ALIVE)
            alive = connection.receive()
            for kind, _ in connection.take():
                if kind == _QUIT:
                    quits = True
                    self._lose("", speaks=False)
            silent = time.monotonic() - connection.heard > SILENCE
            if not alive or silent:
                what = f"has not been heard of for {SILENCE:.0f} s" if silent else "has died"
                self._says = self._speaks and not quits and not self._ended.is_set()
                self._lose(
                    f"{self._leader} {what}, so the others end too. {self.remedy}",
                    speaks=self._says,
                )
                break
        self._gone.set()


class _Connection:
    """Messages over a socket: a byte that says what it is, a length, and a text."""

    def __init__(self, one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = one
        self._data = b""
        self._sending = threading.Lock()
        self.rank = -1
        self.heard = time.monotonic()

    def send(self, kind: bytes, text: bytes = b"") -> None:
        """Send; a connection that is broken is found by :meth:`receive`."""
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(_HEAD.pack(kind, len(text)) + text)

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def receive(self) -> bool:
        """Wait for something, as long as the socket does; False if the other side is gone."""
        try:
            found = self._socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return True
        except OSError:
            return False
        self._data += found
        self.heard = time.monotonic()
        return bool(found)

    def take(self) -> list[tuple[bytes, bytes]]:
        """The whole messages among what was received."""
        found = []
        while len(self._data) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._data)
            end = _HEAD.size + length
            if len(self._data) < end:
                break
            found.append((kind, self._data[_HEAD.size : end]))
            self._data = self._data[end:]
        return found
