# SPDX-License-Identifier: BSD-3-Clause
"""A training on two machines, which are network namespaces with a cable between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from many_processes import launcher, start, stop_all
from small_training import write_all_data, write_script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
HOSTS = ("10.77.0.1", "10.77.0.2")
WRAPPER = """#!/bin/sh
# what hydra starts in place of ssh: [options] HOST COMMAND
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec nsenter --net=/run/netns/dptest-$host sh -c "$*"
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[None]:
    if os.getuid() != 0 or not (shutil.which("ip") and shutil.which("nsenter")):
        pytest.skip("network namespaces need root, ip and nsenter")
    if len(launcher()) > 1:
        pytest.skip("the options are those of MPICH")
    try:
        for host in HOSTS:
            ip("netns", "add", f"dptest-{host}")
        ends = ("dptest1", "netns", f"dptest-{HOSTS[0]}", "type", "veth")
        ip("link", "add", *ends, "peer", "name", "dptest2", "netns", f"dptest-{HOSTS[1]}")
        for end, host in zip(("dptest1", "dptest2"), HOSTS, strict=True):
            ip("-n", f"dptest-{host}", "addr", "add", f"{host}/24", "dev", end)
            ip("-n", f"dptest-{host}", "link", "set", end, "up")
            ip("-n", f"dptest-{host}", "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made: {error.stderr.decode().strip()}")
    else:
        yield
    finally:
        stop_all()
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", f"dptest-{host}"], capture_output=True)


def test_a_machine_vanishes(tmp_path, machines, monkeypatch):
    """Nobody is told when a cable is pulled; all end within a minute, and one says why."""
    write_all_data(tmp_path)
    write_script(tmp_path, training={"numb_steps": 1000000, "disp_freq": 100, "save_freq": 50})
    wrapper, first = tmp_path / "ssh", tmp_path / "mpiexec"
    wrapper.write_text(WRAPPER)
    (found,) = launcher()
    hosts = f"-launcher ssh -launcher-exec {wrapper} -hosts {','.join(HOSTS)}"
    first.write_text(
        f'#!/bin/sh\nexec nsenter --net=/run/netns/dptest-{HOSTS[0]} {found} {hosts} "$@"\n'
    )
    for script in (wrapper, first):
        script.chmod(0o755)
    monkeypatch.setattr("many_processes.launcher", lambda: [str(first)])
    process = start(tmp_path, 2, "train", "input.json")
    end = time.monotonic() + 100
    while not (tmp_path / "checkpoint").exists() and time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    begin = time.monotonic()
    ip("-n", f"dptest-{HOSTS[0]}", "link", "set", "dptest1", "down")
    said = b""
    while time.monotonic() < begin + 60 and b"dp: error" not in said:
        said += os.read(process.stdout.fileno(), 65536)
    text = said.decode()
    assert "has not been heard of for 40 s" in text, text
    assert "rank 1 (" in text and "go on with --restart" in text
    ranks = [sys.executable.encode(), b"-m", b"deepmd_tf"]
    while time.monotonic() < begin + 60 and _running(tmp_path, ranks):
        time.sleep(0.5)
    assert not _running(tmp_path, ranks)


def _running(folder: Path, command: list[bytes]) -> bool:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            if words[: len(command)] == command and os.readlink(path / "cwd") == str(folder):
                return True
        except OSError:  # it has just ended
            continue
    return False
