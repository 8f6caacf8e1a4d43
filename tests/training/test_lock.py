# SPDX-License-Identifier: BSD-3-Clause
"""One training at a time writes its files; what a dead one leaves behind keeps nobody out."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from small_training import write_script

from deepmd_tf.errors import InputError, TrainingError
from deepmd_tf.training import lock
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.lock import LOCK, Holder, held
from deepmd_tf.training.outputs import PlannedFile

ELSEWHERE = {"host": "node7", "machine": "another", "since": "2001-02-03 04:05:06 +0000"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(prefix: str = "model.ckpt", curve: str = "lcurve.out") -> list[PlannedFile]:
    """Of a training."""
    return [
        PlannedFile(Path(prefix), "training.save_ckpt", "checkpoints", "prefix"),
        PlannedFile(Path(curve), "training.disp_file", "learning curve"),
        PlannedFile(Path("out.json"), "--output", "input script", own=False),
    ]


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that knows no locks."""

    def refused(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)


def write_entry(path: Path = Path(LOCK), **changes: object) -> Path:
    """What a training has left behind that is this process but for ``changes``."""
    path.write_text(json.dumps(dataclasses.asdict(Holder.here()) | changes))
    return path


def in_child(body) -> int:
    """Run ``body`` in a process of its own, whose number it is."""
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(0)
        except TrainingError:
            os._exit(3)
        except BaseException:
            os._exit(4)
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def hold_for_ever(ready: int) -> None:
    with held(outputs()):
        os.write(ready, b"1")
        time.sleep(100)


def start_holder() -> int:
    reading, writing = os.pipe()
    child = in_child(lambda: hold_for_ever(writing))
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    return child


pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.mark.parametrize("locks", [True, False])
def test_the_second_one_is_told_by_whom(request, folder, locks):
    if not locks:
        request.getfixturevalue("no_locks")
    child = start_holder()
    try:
        with pytest.raises(TrainingError) as error, held(outputs()):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        status_of(child)
    entry = Holder(**json.loads(Path(LOCK).read_text()))
    assert entry.pid == child
    assert f"another training (process {child} of {entry.user} on {entry.host}, since 20" in str(
        error.value
    )
    assert "wait for its end, stop it, or train in another folder" in str(error.value)
    assert "remove" not in str(error.value)


@pytest.mark.parametrize("locks", [True, False])
def test_a_killed_one_is_replaced(request, folder, locks, caplog):
    if not locks:
        request.getfixturevalue("no_locks")
    child = start_holder()
    os.kill(child, signal.SIGKILL)
    status_of(child)
    with caplog.at_level(logging.INFO), held(outputs()):
        assert json.loads(Path(LOCK).read_text())["pid"] == os.getpid()
    assert f"without its last words (process {child} of" in caplog.text
    assert os.listdir(folder) == []


def test_a_number_of_a_process_that_is_used_again(folder, no_locks):
    write_entry(begin="1")
    with held(outputs()):
        pass
    write_entry()
    with pytest.raises(TrainingError, match=f"process {os.getpid()} of"), held(outputs()):
        pass


def test_of_many_that_start_at_the_same_moment_one_trains(folder):
    reading, writing = os.pipe()
    over, end = os.pipe()

    def race() -> None:
        os.close(end)
        os.read(reading, 1)  # all begin when the pipe is closed
        with held(outputs("new/folder/model.ckpt")):
            os.read(over, 1)

    write_entry(pid=1, begin="0")
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            os.close(writing)
            status = 4
            try:
                race()
                status = 0
            except TrainingError:
                status = 3
            finally:
                os._exit(status)
        children.append(child)
    os.close(writing)
    losers = [os.waitpid(-1, 0) for _ in range(5)]
    assert {os.waitstatus_to_exitcode(status) for _, status in losers} == {3}
    os.close(end)
    (winner,) = set(children) - {child for child, _ in losers}
    assert status_of(winner) == 0
    assert not Path("new").exists()


def test_one_that_was_killed_on_another_machine_is_replaced_after_a_while(folder, caplog):
    path = write_entry(**ELSEWHERE)
    os.utime(path, (time.time() - 70, time.time() - 70))
    with caplog.at_level(logging.INFO), held(outputs()):
        assert json.loads(path.read_text())["host"] != "node7"
    assert "on node7, since 2001-02-03 04:05:06" in caplog.text


def test_the_time_of_another_machine_is_waited_for(folder, monkeypatch, caplog):
    write_entry(**ELSEWHERE)
    monkeypatch.setattr(lock, "SILENCE", 1.5)
    begin = time.monotonic()
    with caplog.at_level(logging.INFO), held(outputs()):
        assert time.monotonic() - begin > 1.0
    assert "whether a training on another machine still runs" in caplog.text


def test_one_that_runs_on_another_machine_keeps_its_folder(folder):
    path = write_entry(**ELSEWHERE)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.2):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(TrainingError) as error, held(outputs()):
            pass
    finally:
        stop.set()
        thread.join()
    assert "on node7, since 2001-02-03 04:05:06" in str(error.value)
    assert f"if that one does not run any more, remove {LOCK}" in str(error.value)


def test_it_shows_that_it_runs(folder, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    with held(outputs()):
        os.utime(LOCK, (0, 0))
        end = time.monotonic() + 10
        while os.stat(LOCK).st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.05)
        assert os.stat(LOCK).st_mtime > 0


@pytest.mark.parametrize(
    ("second", "free"),
    [
        (outputs("b/model.ckpt", "b/lcurve.out"), True),
        (outputs("b/model.ckpt", "curve_b"), True),
        (outputs("b/model.ckpt"), False),
        (outputs("a/other.ckpt", "curve_b"), False),
    ],
)
def test_what_is_held(folder, second, free):
    """Folders of checkpoints, and single files elsewhere."""
    with held(outputs("a/model.ckpt")):
        assert sorted(map(str, Path().rglob(".*"))) == [".lcurve.out.lock", "a/.training.lock"]
        try:
            with held(second):
                assert free
        except TrainingError as error:
            assert not free
            assert str(error).startswith((f"{folder}/lcurve.out: ano", f"{folder}/a: another"))
    assert os.listdir(folder) == []


def test_a_folder_that_cannot_be_made_is_left_to_others(folder):
    (folder / "file").write_text("")
    with held(outputs("file/model.ckpt")):
        assert sorted(os.listdir(folder)) == [".lcurve.out.lock", "file"]
    assert os.listdir(folder) == ["file"]


def test_a_training(fresh, capsys):
    """Refused before it writes or reads anything; a dry run does not mind."""
    write_script(fresh)
    with held(outputs()):
        before = sorted(fresh.rglob("*"))
        with pytest.raises(TrainingError, match="another training"):
            train("input.json")
        assert sorted(fresh.rglob("*")) == before
        assert train("input.json", dry_run=True) == 0
    write_script(fresh, training={"save_ckpt": "", "numb_steps": 1})
    with pytest.raises(InputError):
        train("input.json")
