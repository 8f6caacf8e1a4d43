# SPDX-License-Identifier: BSD-3-Clause
"""Entry point of ``dp``: finds the command, sets up messages, turns errors into one line."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

import deepmd_tf
from deepmd_tf import cli, log, output
from deepmd_tf.cli import _absent as absent
from deepmd_tf.cli._help import HelpFormatter
from deepmd_tf.cli._options import LOG_LEVELS
from deepmd_tf.environment_variables import BACKEND
from deepmd_tf.errors import DeepmdError

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS)
"""Error numbers of disks that do not depend on the program."""

MANY_PROCESSES = ("train", "test", "model-devi", "doctor", "env")
"""Commands that several processes may run, since they work together or write nothing."""

OUR_BACKENDS = ("tensorflow", "tf")
OTHER_BACKENDS = (
    ("pytorch", "pt"),
    ("pytorch-exportable", "pt-expt"),
    ("jax",),
    ("numpy", "np", "dpmodel", "dp"),
    ("paddle", "pd"),
    ("tensorflow2", "tf2"),
)


_ONLY_TENSORFLOW = "this package is TensorFlow only"


class _UsageError(Exception):
    """A command line that cannot be understood."""


class _OtherBackendError(_UsageError):
    """A backend that DeePMD-kit has."""


class _Parser(argparse.ArgumentParser):
    """A parser that raises, so that all errors are printed in one place."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, **kwargs})

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message}\n{self.format_usage().rstrip()}")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        result, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self.describe_unknown(unknown[0]))
        return result

    def describe_unknown(self, word: str) -> str:
        """The mistake in an argument that no option takes."""
        if not word.startswith("-"):
            return f'unexpected argument "{word}"'
        name = word.partition("=")[0]
        known = [o for o in self._option_string_actions if o.startswith("--")]
        near = difflib.get_close_matches(name, known, n=1)
        return f'unknown option "{name}"' + (f'; did you mean "{near[0]}"?' if near else "")


class _CommandParser(_Parser):
    """The parser of one command: tells about unknown options first, and in the command's terms."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(args or [])
        words = words[: words.index("--")] if "--" in words else words
        for word in words:
            name = word.partition("=")[0]
            if name.startswith("--") and not any(
                option.startswith(name) for option in self._option_string_actions
            ):
                self.error(self.describe_unknown(name))
        result, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self.describe_unknown(unknown[0]))
        return result, unknown

    def describe_unknown(self, word: str) -> str:
        command = self.prog.split()[-1]
        if reason := absent.OPTIONS.get(command, {}).get(word):
            return f'"{word}": {reason}'
        if word.lstrip("-") in (name for names in OTHER_BACKENDS for name in names):
            # behind the command, where DeePMD-kit does not take it either
            raise _UsageError(f"{word.lstrip('-')}: {_ONLY_TENSORFLOW}; leave the option out")
        if word in _global_parser(add_help=False)._option_string_actions:
            return f'"{word}" goes before the command: dp {word} {command}'
        return super().describe_unknown(word)


def _check_backend(name: str, origin: str = "") -> str:
    if name.lower() not in OUR_BACKENDS:
        remedy = f"unset {origin}" if origin else "leave the option out"
        raise _OtherBackendError(
            f"{origin and f'{origin}='}{name}: {_ONLY_TENSORFLOW}; {remedy}, or use "
            "--tf (models of other backends need the DeePMD-kit installation that wrote them; "
            "where it is installed in this environment, such commands are handed to it)"
        )
    return "tensorflow"


class _OtherBackend(argparse.Action):
    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        _check_backend((option_string or "").lstrip("-"))


def command_names() -> list[str]:
    """Commands, from the modules of this package."""
    modules = (m.name for m in pkgutil.iter_modules(cli.__path__))
    return sorted(m.replace("_", "-") for m in modules if m != "main" and not m.startswith("_"))


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"{cli.__name__}.{command.replace('-', '_')}")


def _global_parser(*, add_help: bool) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dp",
        description="Deep potentials in TensorFlow: train on ab-initio data, freeze, test, run.",
        epilog="Start with: dp --tf train input.json. dp --tf COMMAND -h explains a command; "
        "dp --tf doctor tells whether it works here.",
        add_help=add_help,
        allow_abbrev=False,
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "-b",
        "--backend",
        metavar="NAME",
        help="accepted for compatibility; only tensorflow",
    )
    group.add_argument(
        "--tf",
        "--tensorflow",
        dest="backend",
        action="store_const",
        const="tensorflow",
        help="same",
    )
    for names in OTHER_BACKENDS:
        group.add_argument(
            *(f"--{n}" for n in names), action=_OtherBackend, nargs=0, help=argparse.SUPPRESS
        )
    parser.add_argument(
        "--version", action="version", version=f"deepmd_tf v{deepmd_tf.__version__}"
    )
    return parser


def _find_command(argv: Sequence[str]) -> str | None:
    """The command in ``argv``, after the global options; only its module need be imported."""
    _, rest = _global_parser(add_help=False).parse_known_args(_leading(argv))
    for word in rest:
        if not word.startswith("-"):
            return word
    return None


def _leading(argv: Sequence[str]) -> list[str]:
    """``argv`` up to the command: what comes after it are not global options."""
    skip_value = False
    for i, word in enumerate(argv):
        if skip_value:
            skip_value = False
        elif word in ("-b", "--backend"):
            skip_value = True
        elif not word.startswith("-"):
            return list(argv[: i + 1])
    return list(argv)


def build_parser(commands: Sequence[str]) -> argparse.ArgumentParser:
    """The whole parser, with the subparsers of ``commands``."""
    parser = _global_parser(add_help=True)
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", parser_class=_CommandParser
    )
    for name in commands:
        module = _module(name)
        module.add_parser(subparsers).set_defaults(run=module.run)
    return parser


def _help_last(argv: Sequence[str]) -> list[str]:
    """``help train`` and ``--help train`` as ``train -h``."""
    leading = _leading(argv)
    command = _find_command(argv)
    if command is None:
        return list(argv)
    before, after = leading[:-1], list(argv[len(leading) :])
    others = [word for word in before if word not in ("-h", "--help")]
    if command == "help":
        return [*others, *after[:1], "-h"]
    return [*others, command, "-h"] if others != before else list(argv)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    argv = _help_last(argv)
    names = command_names()
    command = _find_command(argv)
    if command is not None and command not in names:
        if reason := absent.COMMANDS.get(command):
            raise _UsageError(f"dp {command}: {reason}")
        near = difflib.get_close_matches(command, names, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise _UsageError(f'unknown command "{command}"{hint}\ncommands: {", ".join(names)}')
    parser = build_parser(names if command is None else [command])
    args = parser.parse_args(argv)
    if args.backend is not None:
        args.backend = _check_backend(args.backend)
    elif command is not None:
        args.backend = _check_backend(os.environ.get(BACKEND) or "tensorflow", BACKEND)
    if command is None:
        parser.print_help()
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dp``.

    Parameters
    ----------
    argv
        Arguments without the name of the program; default: those of the process.

    Returns
    -------
    int
        Exit status: 0; 1 for errors of the user (one line on the terminal); 2 for a command line
        that cannot be understood; 130 when interrupted.
    """
    output.make_printable()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parse(words)
    except _OtherBackendError as error:
        if _has_deepmd_kit():
            # the program that wins the name "dp" in such an environment is of no matter then
            os.execv(sys.executable, [sys.executable, "-m", "deepmd", *words])
        print(f"dp: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except _UsageError as error:
        print(f"dp: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    if args.command is None:
        return 0
    try:
        os.getcwd()
    except FileNotFoundError:
        print(
            "dp: error: the working directory does not exist any more (it was removed or "
            "replaced); change into one that does",
            file=sys.stderr,
        )
        return EXIT_ERROR
    try:
        log.quiet_tensorflow()
        log.set_up(LOG_LEVELS[getattr(args, "log_level", "INFO")], getattr(args, "log_path", None))
        if args.command not in MANY_PROCESSES:
            from deepmd_tf.parallel.launch import require_alone

            require_alone(f"dp {args.command}")
        status = args.run(args) or 0
        sys.stdout.flush()
        return status
    except DeepmdError as error:
        print(f"dp: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("dp: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader of our output (head, less) has gone; nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        _drop_output()
        print(f"dp: error: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return EXIT_ERROR


def _has_deepmd_kit() -> bool:
    """Whether DeePMD-kit is installed in this environment."""
    from importlib import metadata

    try:
        metadata.version("deepmd-kit")
    except metadata.PackageNotFoundError:
        return False
    return True


def _drop_output() -> None:
    """Drop the buffer of an output that cannot be written, so that exit does not try again."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
