# SPDX-License-Identifier: BSD-3-Clause
"""The dp command: what it answers without TensorFlow, and how it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import deepmd_tf
from deepmd_tf import cli
from deepmd_tf.cli import _absent as absent
from deepmd_tf.cli._help import GROUPS
from deepmd_tf.cli.main import build_parser, command_names, main

AT_ONCE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "numpy", "mpi4py", "rich"):
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
from deepmd_tf.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("arguments", [["--tf", "-h"], ["--tf", "train", "-h"], ["--version"], []])
def test_help_imports_nothing_that_takes_long(arguments):
    result = subprocess.run(
        [sys.executable, "-c", AT_ONCE, *arguments], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout or deepmd_tf.__version__ in result.stdout


def test_module_can_be_run():
    result = subprocess.run(
        [sys.executable, "-m", "deepmd_tf", "--version"], capture_output=True, text=True
    )
    assert result.stdout == f"deepmd_tf v{deepmd_tf.__version__}\n"


def test_help_in_groups(capsys):
    """Every command is in a group, and examples can be pasted."""
    assert {name for names in GROUPS.values() for name in names} == set(command_names())
    with pytest.raises(SystemExit):
        main(["-h"])
    lines = capsys.readouterr().out.splitlines()
    assert lines.index("  data:") < lines.index("  training:") < lines.index("  models:")
    assert "  others:" not in lines
    with pytest.raises(SystemExit):
        main(["freeze", "-h"])
    lines = capsys.readouterr().out.splitlines()
    examples = ["  dp --tf freeze", "  dp --tf freeze -c model.ckpt-2000 -o water.pb"]
    assert lines[-3:] == ["examples:", *examples]


@pytest.mark.parametrize(
    ("words", "like"),
    [
        (["help"], ["-h"]),
        (["--tf", "help", "train"], ["train", "-h"]),
        (["--help", "train"], ["train", "-h"]),
    ],
)
def test_help_of_a_command(words, like, capsys):
    shown = []
    for one in (words, like):
        with pytest.raises(SystemExit) as ended:
            main(one)
        assert ended.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != ""


def test_commands_are_the_modules():
    assert "train" in command_names()
    assert "main" not in command_names()


@pytest.mark.parametrize("option", [["--pt"], ["--jax"], ["--paddle"], ["-b", "pytorch"]])
def test_other_backends(option, capsys):
    assert main([*option, "train", "input.json"]) == 2
    assert "this package is TensorFlow only" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--pt", "train", "a.json"], ["-b", "jax", "test"]])
def test_other_backends_beside_deepmd_kit(words, monkeypatch):
    """Its program takes over, with the same arguments."""

    class TakenOver(Exception):
        pass

    def execute(program, arguments):
        raise TakenOver(program, *arguments)

    monkeypatch.setattr(os, "execv", execute)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "3.2.0")
    with pytest.raises(TakenOver) as taken:
        main(words)
    assert taken.value.args == (sys.executable, sys.executable, "-m", "deepmd", *words)
    assert main(["train", "a.json", "--pt"]) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("90m", 5400),
        ("1.5h", 5400),
        ("2d", 172800),
        ("23:30:00", 84600),
        ("1-00:00:05", 86405),
        ("0:00:01", 1),
    ],
)
def test_time_limit(text, seconds):
    args = build_parser(["train"]).parse_args(["train", "input.json", "--max-time", text])
    assert args.max_time == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "90x", "23:30", "1:2:3:4", "1e3", "0:00:61", "nan"]
)
def test_what_is_no_time(text, capsys):
    assert main(["train", "input.json", f"--max-time={text}"]) == 2
    assert f'"{text}" is no time; expected seconds' in capsys.readouterr().err


def test_output_to_a_full_disk():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "deepmd_tf", "env"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (1, "dp: error: output: No space left on device\n")


def test_other_backend_in_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("DP_BACKEND", "pytorch")
    assert main(["train", "input.json"]) == 2
    error = capsys.readouterr().err
    assert "DP_BACKEND=pytorch: this package is TensorFlow only; unset DP_BACKEND" in error


def test_our_own_backend_in_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("DP_BACKEND", "TensorFlow")
    assert main(["train"]) == 2
    assert "INPUT" in capsys.readouterr().err


def test_unknown_command_suggests_the_nearest(capsys):
    assert main(["--tf", "trian", "input.json"]) == 2
    assert 'unknown command "trian"; did you mean "train"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["gui", "transfer", "train-nvnmd", "embed", "pretrained", "convert-backend"]
)
def test_commands_of_deepmd_kit_that_are_not_here(command, capsys):
    assert main(["--tf", command, "-h"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"dp: error: dp {command}: ")
    assert "DeePMD-kit" in error or "documentation" in error or "--init-frz-model" in error


def test_absent_commands_are_absent():
    assert not set(absent.COMMANDS) & set(command_names())


def options_of(command):
    """All spellings of the options of a command."""
    (subparsers,) = build_parser([command])._subparsers._group_actions
    return sorted(subparsers.choices[command]._option_string_actions)


def misspelt():
    """(command, wrong spelling, right one) for the long options of every command."""
    for command in command_names():
        for option in options_of(command):
            if len(option) > 6 and option.startswith("--"):
                # two letters in the middle change places
                middle = len(option) // 2
                swapped = option[middle + 1] + option[middle]
                wrong = option[:middle] + swapped + option[middle + 2 :]
                if wrong != option:
                    yield command, wrong, option


@pytest.mark.parametrize(("command", "wrong", "right"), list(misspelt()))
def test_unknown_options_suggest_the_nearest(command, wrong, right, capsys):
    assert main(["--tf", command, wrong, "x"]) == 2
    error = capsys.readouterr().err
    assert f'unknown option "{wrong}"; did you mean "{right}"?' in error
    assert f"usage: dp {command}" in error


def test_restart_misspelt(capsys):
    assert main(["--tf", "train", "--restrat", "x"]) == 2
    error = capsys.readouterr().err
    assert 'unknown option "--restrat"; did you mean "--restart"?' in error


def test_abbreviated_options_are_understood():
    args = build_parser(["train"]).parse_args(["train", "input.json", "--rest=model.ckpt"])
    assert args.restart == "model.ckpt"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "a.json", "--tf"], '"--tf" goes before the command: dp --tf train'),
        (["train", "a.json", "--pt"], "pt: this package is TensorFlow only"),
        (["train", "a.json", "--force-load"], '"--force-load": it is for PyTorch checkpoints'),
        (["train", "a.json", "b.json"], 'unexpected argument "b.json"'),
        (["--tensorflw", "train", "a.json"], 'unknown option "--tensorflw"; did you mean "--tens'),
    ],
)
def test_arguments_in_the_wrong_place(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", command_names())
def test_every_command_has_the_common_options(command):
    assert {"-v", "--log-level", "-l", "--log-path"} <= set(options_of(command))
    if command in ("train", "compress"):
        assert {"-m", "--mpi-log"} <= set(options_of(command))


def test_log_file(command, tmp_path):
    command(
        "import logging; logging.getLogger('deepmd_tf.training').info('built lr'); "
        "logging.getLogger('deepmd_tf').debug('not asked for')",
        "parser = subparsers.add_parser('try-it'); "
        "from deepmd_tf.cli._options import add_log_options; add_log_options(parser); "
        "return parser",
    )
    path = tmp_path / "train.log"
    for _ in range(2):
        assert main(["try-it", "-v", "2", "-l", str(path)]) == 0
    for line in path.read_text().splitlines():
        assert re.fullmatch(
            r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] DEEPMD INFO    "
            r"deepmd_tf\.training {27} built lr",
            line,
        )
    assert len(path.read_text().splitlines()) == 2


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

    def make(body, parser="return subparsers.add_parser('try-it')"):
        (tmp_path / "try_it.py").write_text(
            "from deepmd_tf.errors import DataError\n"
            f"def add_parser(subparsers):\n    {parser}\n"
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


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["train", str(tmp_path / "input.json")]) == 1
    assert "dp: error: the working directory does not exist any more" in capsys.readouterr().err
