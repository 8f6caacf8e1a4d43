# SPDX-License-Identifier: BSD-3-Clause
"""Try loaders, each in a folder of its own; one line of JSON with the counts of each."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

from fuzzing.run import FailureError, bounded, run

MODULES = {
    "npy": "arrays",
    "system": "arrays",
    "mixed": "arrays",
    "hdf5": "arrays",
    "extxyz": "xyz",
    "json": "texts",
    "yaml": "texts",
    "curve": "texts",
    "continued curve": "texts",
    "list": "texts",
    "structure": "foreign",
    "convert-data": "foreign",
    "statistics hdf5": "statistics",
    "statistics npy": "statistics",
    "frozen": "models",
    "imported": "models",
    "pbtxt": "models",
    "checkpoint": "checkpoints",
    "manifest": "checkpoints",
    "record": "checkpoints",
}
"""Loaders, and the modules here that know them."""


def main() -> int:
    """Exit status: 1 if one failed."""
    parser = argparse.ArgumentParser(prog="fuzzing")
    parser.add_argument("name", choices=MODULES, nargs="+")
    parser.add_argument("--cases", type=int, default=1000, help="of each")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    for name in args.name:
        begin = time.perf_counter()
        folder = Path(tempfile.mkdtemp(prefix="fuzzing-"))
        print(json.dumps({"begins": name, "folder": str(folder)}), flush=True)
        loader = importlib.import_module(f"fuzzing.{MODULES[name]}").LOADERS[name](folder)
        cases = range(args.first, args.first + args.cases)
        try:
            with bounded():
                counts = run(loader, folder, cases, name, args.seed)
        except FailureError as error:
            print(json.dumps({"failed": str(error)}), flush=True)
            raise
        shutil.rmtree(folder)
        seconds = round(time.perf_counter() - begin, 1)
        print(json.dumps({"loader": name, "seconds": seconds, **counts}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
