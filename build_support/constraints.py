# SPDX-License-Identifier: BSD-3-Clause
"""Exact versions of everything that ``make`` installs, so that a release elsewhere breaks nothing.

constraints.py make [PYTHON ...]   write constraints/pyXY.txt for each interpreter: what pip
                                   takes today for all that pyproject.toml asks for
constraints.py oldest              print every lower bound of pyproject.toml as a version
constraints.py differences         print what this environment has other than its file says
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "constraints"
EXTRAS = ("cpu", "test", "nvrtc", "dev", "docs")
"""The extra gpu is installed by users, with versions that fit their driver."""
PYTHONS = ("python3.10", "python3.11", "python3.12", "python3.13")
HEAD = """\
# Made by build_support/constraints.py ("make constraints"): the newest versions of {date}
# that {python} on Linux x86-64 takes.
"""


def project() -> dict[str, Any]:
    """``pyproject.toml``."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        from pip._vendor import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(extras: tuple[str, ...] = EXTRAS) -> list[str]:
    """What the build, the package and ``extras`` require."""
    metadata = project()
    wanted = [*metadata["build-system"]["requires"], *metadata["project"]["dependencies"]]
    for extra in extras:
        wanted += metadata["project"]["optional-dependencies"][extra]
    return sorted(set(wanted))


def oldest() -> list[str]:
    """Lower bounds of all but tools as exact versions."""
    return [
        re.sub(r">=([^,;]+)[^;]*", r"==\1", requirement)
        for requirement in requirements(("cpu", "test"))
    ]


def resolve(python: str) -> tuple[str, dict[str, str]]:
    """(``X.Y`` of the interpreter, versions by name that pip would install into an empty one)."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([python, "-m", "venv", scratch], check=True)
        pip = [f"{scratch}/bin/python", "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        report = Path(scratch) / "report.json"
        subprocess.run(
            [*pip, "install", "--quiet", "--dry-run", "--report", report, *requirements()],
            check=True,
        )
        found = json.loads(report.read_text(encoding="utf-8"))
    versions = {
        normal(item["metadata"]["name"]): item["metadata"]["version"] for item in found["install"]
    }
    return found["environment"]["python_version"], versions


def normal(name: str) -> str:
    """Name of a distribution as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def file_of(python_version: str) -> Path:
    """Constraints for Python ``X.Y``."""
    return FOLDER / f"py{python_version.replace('.', '')}.txt"


def make(pythons: list[str]) -> int:
    """Write the file of each interpreter that starts; those of others stay as they are."""
    import datetime

    FOLDER.mkdir(exist_ok=True)
    missing = 0
    for python in pythons:
        try:
            subprocess.run([python, "--version"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            print(f"{python} does not start; its constraints stay as they are", file=sys.stderr)
            missing += 1
            continue
        version, versions = resolve(python)
        head = HEAD.format(date=datetime.date.today(), python=f"Python {version}")
        lines = [f"{name}=={versions[name]}\n" for name in sorted(versions)]
        file_of(version).write_text(head + "".join(lines), encoding="utf-8")
        print(f"{file_of(version).relative_to(ROOT)}: {len(lines)} packages")
    return int(missing == len(pythons))


def differences() -> list[str]:
    """A line for each package of this environment that has another version than in its file."""
    written = dict(
        line.split("==")
        for line in file_of("{}.{}".format(*sys.version_info)).read_text().splitlines()
        if not line.startswith("#")
    )
    installed = {
        normal(found.metadata["Name"]): found.version
        for found in importlib.metadata.distributions()
    }
    return [
        f"{name}: {installed[name]}, constraints have {version}"
        for name, version in written.items()
        if installed.get(name, version) != version
    ]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("make", "oldest", "differences"))
    parser.add_argument("pythons", nargs="*", metavar="PYTHON")
    arguments = parser.parse_args()
    if arguments.what == "make":
        return make(arguments.pythons or list(PYTHONS))
    print("\n".join(oldest() if arguments.what == "oldest" else differences()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
