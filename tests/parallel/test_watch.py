# SPDX-License-Identifier: BSD-3-Clause
"""Ranks see that others die; threads stand for them, and connections are real."""

from __future__ import annotations

import threading
import time

import pytest

from deepmd_tf.parallel import watch
from deepmd_tf.parallel.watch import Follower, Hub

TOKEN = b"0123456789abcdef"
NAMES = ["rank 0 (a)", "rank 1 (b)", "rank 2 (c)"]
SOON = 10.0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(watch, "BEAT", 0.1)
    monkeypatch.setattr(watch, "SILENCE", 0.6)
    monkeypatch.setattr(watch, "GRACE", 1000.0)  # a test does not end its process
    monkeypatch.setattr(watch, "CONNECTING", 1.0)


@pytest.fixture
def three():
    hub = Hub(TOKEN)
    hub.start(NAMES)
    members = [Follower(rank, speaks=rank == 1) for rank in (1, 2)]
    assert all(member.connect(*hub.places, TOKEN, NAMES[0]) for member in members)
    yield hub, *members
    for member in members:
        member.close()
    hub.close()


def drop(member: Follower) -> None:
    """What the system does when a process dies."""
    member._connection._socket.shutdown(2)


def test_all_live(three):
    time.sleep(1.0)
    assert not any(one.lost.is_set() for one in three)


def test_a_rank_dies(three):
    hub, _, second = three
    drop(second)
    assert hub.lost.wait(SOON)
    assert "rank 2 (c) has died" in hub.reason and "--restart" in hub.reason


def test_rank_0_dies(three):
    hub, *members = three
    for member in hub._members.values():
        member._socket.shutdown(2)
    for member in members:
        assert member.lost.wait(SOON)
        assert "rank 0 (a) has died" in member.reason


def test_a_rank_falls_silent(three, monkeypatch):
    hub, first, _ = three
    first._ended.set()  # its thread ends, its connection stays
    assert hub.lost.wait(SOON)
    assert "rank 1 (b) has not been heard of" in hub.reason


def test_an_error_is_told_by_rank_0(three):
    hub, first, second = three
    first._connection.send(b"e", b"rank 1 (b): bad frame")
    assert hub.lost.wait(SOON)
    assert hub.reason == "rank 1 (b): bad frame"
    hub.fail()
    assert second.lost.wait(SOON)
    assert second.reason == ""


def test_an_error_of_all_is_told_by_rank_0(three):
    """The others stay silent, since rank 0 is there until it has told."""
    hub, *members = three
    for member in members:
        member._connection.send(b"e", b"the same")
    assert hub.lost.wait(SOON)
    time.sleep(0.5)
    assert not any(member.lost.is_set() for member in members)
    hub.fail()
    for member in members:
        assert member.lost.wait(SOON)
        assert (member.reason, member._says) == ("", False)


@pytest.mark.parametrize("done_first", [False, True])
def test_a_rank_that_could_not_connect_is_not_waited_for(monkeypatch, done_first):
    monkeypatch.setattr(watch, "GRACE", 3.0)
    hub = Hub(TOKEN)
    hub.start(NAMES)
    member = Follower(1, speaks=True)
    assert member.connect(*hub.places, TOKEN, NAMES[0])
    hub.absent = 1
    begin = time.monotonic()
    for one in (member, hub) if done_first else (hub, member):
        closing = threading.Thread(target=one.close)
        closing.start()
        time.sleep(0.3)
    closing.join()
    assert time.monotonic() - begin < 2.0
    assert hub._all_done.is_set() and not hub.lost.is_set()


def test_strangers_are_not_listened_to():
    hub = Hub(TOKEN)
    hub.start(NAMES[:2])
    stranger = Follower(1, speaks=True)
    assert not stranger.connect(*hub.places, b"another token!!!", NAMES[0])
    friend = Follower(1, speaks=True)
    assert friend.connect(*hub.places, TOKEN, NAMES[0])
    assert not hub.lost.is_set()
    friend.close()
    hub.close()
