# SPDX-License-Identifier: BSD-3-Clause
"""What is shown on a terminal, and that nothing is shown elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

CODE = "from deepmd_tf.progress import track; assert list(track('abc', 'looking', 3)) == [*'abc']"


def test_on_a_terminal() -> None:
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", CODE], stderr=follower, env=environment, check=True)
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert "looking" in shown and "3/3" in shown


def test_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True)
    assert not done.stdout + done.stderr
