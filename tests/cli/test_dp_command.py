# SPDX-License-Identifier: BSD-3-Clause
"""The dp command: what it answers without TensorFlow, and how it fails."""

from __future__ import annotations

import subprocess
import sys

import pytest

import deepmd_tf
from deepmd_tf import cli
from deepmd_tf.cli.main import command_names, main

NO_TENSORFLOW = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise AssertionError("TensorFlow was imported")

sys.meta_path.insert(0, Refuse())
from deepmd_tf.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("arguments", [["--tf", "-h"], ["--tf", "train", "-h"], ["--version"], []])
def test_help_does_not_import_tensorflow(arguments):
    result = subprocess.run(
        [sys.executable, "-c", NO_TENSORFLOW, *arguments], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout or deepmd_tf.__version__ in result.stdout


def test_module_can_be_run():
    result = subprocess.run(
        [sys.executable, "-m", "deepmd_tf", "--version"], capture_output=True, text=True
    )
    assert result.stdout == f"deepmd_tf v{deepmd_tf.__version__}\n"


def test_commands_are_the_modules():
    assert "train" in command_names()
    assert "main" not in command_names()


@pytest.mark.parametrize("option", [["--pt"], ["--jax"], ["--paddle"], ["-b", "pytorch"]])
def test_other_backends(option, capsys):
    assert main([*option, "train", "input.json"]) == 2
    assert "this package is TensorFlow only" in capsys.readouterr().err


def test_other_backend_in_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("DP_BACKEND", "pytorch")
    assert main(["train", "input.json"]) == 2
    assert 'backend "pytorch": this package is TensorFlow only' in capsys.readouterr().err


def test_unknown_command_suggests_the_nearest(capsys):
    assert main(["--tf", "trian", "input.json"]) == 2
    assert 'unknown command "trian"; did you mean "train"?' in capsys.readouterr().err


def test_missing_argument(capsys):
    assert main(["train"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dp: error: ")
    assert "INPUT" in error


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Makes ``dp try-it`` from the body of its run function."""
    monkeypatch.setattr(cli, "__path__", [str(tmp_path)])
    name = "deepmd_tf.cli.try_it"
    monkeypatch.delitem(sys.modules, name, raising=False)

    def make(body):
        (tmp_path / "try_it.py").write_text(
            "from deepmd_tf.errors import DataError\n"
            "def add_parser(subparsers):\n"
            "    return subparsers.add_parser('try-it')\n"
            f"def run(args):\n    {body}\n"
        )

    yield make
    sys.modules.pop(name, None)


def test_what_the_user_can_mend_is_one_line(command, capsys):
    command("raise DataError('set.000/coord.npy: not found')")
    assert main(["--tf", "try-it"]) == 1
    assert capsys.readouterr().err == "dp: error: set.000/coord.npy: not found\n"


@pytest.mark.parametrize(("body", "status"), [("return 7", 7), ("return None", 0)])
def test_exit_status(command, body, status):
    command(body)
    assert main(["try-it"]) == status


def test_interrupted(command, capsys):
    command("raise KeyboardInterrupt")
    assert main(["try-it"]) == 130
    assert capsys.readouterr().err == "dp: interrupted\n"


def test_mistakes_of_ours_keep_their_traceback(command):
    command("raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        main(["try-it"])
