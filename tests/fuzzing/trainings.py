# SPDX-License-Identifier: BSD-3-Clause
"""Random valid input scripts, each trained for two steps or refused with one message.

::

    PYTHONPATH=tests python -m fuzzing.trainings --cases 10000

prints how many were trained and how many were refused, and with which messages. What else happens
is a failure: another exception, a warning of NumPy, a case that does not end, a file that is
missing or cannot be read again. The input script of a failure stays in the folder that is named.
``--first NUMBER --cases 1`` with the same seed makes it again.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import logging
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fragmented
import masks
import numpy as np
import spins
from small_training import EDGE, make_mixed_frames, pair_hessian, pair_tensors, write_mixed
from small_training import write_data as write_small

from deepmd_tf.config import Config, load_input
from deepmd_tf.data import write_system
from deepmd_tf.errors import DeepmdError
from deepmd_tf.pair_table.zbl import write_zbl_table
from fuzzing.run import FailureError
from fuzzing.scripts import draw_script

SECONDS = 120
"""After which a case does not end; the process does, with the place where it is."""
LONGEST = 3000
"""Characters of a message that a user still reads."""
_NOT_FOR_USERS = re.compile(r"Traceback|0x[0-9a-f]{6}|NoneType|<class|Errno|\bNode\b|DT_DOUBLE")


def write_data(folder: Path) -> None:
    """Systems of :data:`fuzzing.scripts.SYSTEMS`: periodic, free, of the mixed type, a lone atom,
    without labels, one frame."""
    rng = np.random.default_rng(3)
    for name, edge, nframes in (("cell", EDGE, 6), ("free", None, 4), ("frame", EDGE, 1)):
        write_small(folder / "data" / name, 1, nframes, edge)
        for path in (folder / "data" / name).glob("set.*"):
            coord = np.load(path / "coord.npy").reshape(-1, 6, 3)
            n = len(coord)
            np.save(path / "hessian.npy", pair_hessian(coord, edge).reshape(n, -1))
            np.save(path / "drdq.npy", rng.normal(size=(n, 6 * 3 * 2)))
            np.save(path / "fparam.npy", rng.normal(size=(n, 1)))
            np.save(path / "aparam.npy", rng.normal(size=(n, 6 * 2)))
            for item, values in pair_tensors(coord, edge).items():
                np.save(path / f"{item}.npy", values)
            np.save(path / "atom_ener.npy", rng.normal(size=(n, 6)))
            np.save(path / "atom_pref.npy", rng.integers(0, 3, (n, 6)).astype(float))
            np.save(path / "atom_ener_coeff.npy", rng.choice([-1.0, 1.0], (n, 6)))
    table = {"rmin": 0.01, "rmax": 4.0, "step": 0.01, "rswitch": 2.0}
    write_zbl_table(folder / "data" / "zbl.tab", ["O", "H"], **table)
    masks.write(folder / "data/masked", 1)
    spins.write(folder / "data/spin", 1)
    fragmented.write(folder / "data/fragments", 1)
    write_mixed(folder / "data/mixed", make_mixed_frames(5, 4, EDGE), EDGE)
    one = {"types": [0], "type_map": ["O", "H"], "coord": np.zeros((2, 1, 3)), "box": None}
    write_system(folder / "data/lone", **one, energy=[-1.0, -1.1], force=np.zeros((2, 1, 3)))
    write_system(folder / "data/bare", **one)


def case(number: int, seed: int) -> dict[str, Any]:
    """Input script number ``number``; depends on both numbers only."""
    return draw_script(random.Random(f"training {seed} {number}"))


def run(numbers: Iterable[int], seed: int, folder: Path) -> Counter[str]:
    """Try input scripts in a folder with data; how many were trained, and the messages of others.

    Raises
    ------
    FailureError
        For the first that is neither trained nor refused as it must be.
    """
    counts: Counter[str] = Counter()
    for number in numbers:
        script = case(number, seed)
        work = folder / f"case-{number}"
        work.mkdir()
        (work / "data").symlink_to(folder / "data")
        (work / "input.json").write_text(json.dumps(script, indent=1))
        try:
            with _watched(work):
                counts[_train(work)] += 1
        except Exception as error:
            where = f"seed {seed}, case {number}, {work / 'input.json'}"
            text = "".join(traceback.format_exception(error)[-12:])
            raise FailureError(f"{where}: {text}") from error
        shutil.rmtree(work)
    return counts


@contextlib.contextmanager
def _watched(work: Path) -> Iterator[None]:
    """In this folder, with an end, and with warnings of NumPy as errors."""
    before = os.getcwd()
    os.chdir(work)
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("error", RuntimeWarning)
            yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        os.chdir(before)


def _train(work: Path) -> str:
    """Train; what a user would read of a refusal, with what differs from case to case left out."""
    from deepmd_tf.training.entrypoint import train

    try:
        config = load_input("input.json")
        status = train("input.json")
    except DeepmdError as error:
        message = str(error)
        assert message and len(message) < LONGEST, message
        assert not _NOT_FOR_USERS.search(message), message
        return re.sub(r"[-+]?\d[\d.e+-]*|\[[^]]*\]|case-\d+", "…", message.splitlines()[0])[:160]
    assert status == 0
    _check_files(config)
    return "trained"


def _check_files(config: Config) -> None:
    """The files of a training: the learning curve, a checkpoint, the script with all defaults."""
    from deepmd_tf.graph.frozen import find_checkpoint, read_checkpoint

    training = config.training
    load_input("out.json")
    if training.disp_training:
        rows = Path(training.disp_file).read_text().splitlines()
        assert any(not row.startswith("#") for row in rows), "the learning curve is empty"
    prefix = find_checkpoint(training.save_ckpt)
    weights = read_checkpoint(prefix).weights
    assert all(np.isfinite(values).all() for values in weights.values())


def main() -> int:
    """Print the counts."""
    parser = argparse.ArgumentParser(prog="fuzzing.trainings")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="fuzzing-"))
    write_data(folder)
    begin = time.perf_counter()
    counts = run(range(args.first, args.first + args.cases), args.seed, folder)
    shutil.rmtree(folder)
    seconds = round(time.perf_counter() - begin, 1)
    refused = counts.total() - counts["trained"]
    print(json.dumps({"trained": counts["trained"], "refused": refused, "seconds": seconds}))
    for message, times in counts.most_common():
        print(f"{times:6d}  {message}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
