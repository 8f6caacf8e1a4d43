# SPDX-License-Identifier: BSD-3-Clause
"""All that needs TensorFlow, step by step until one fails, as a process of its own.

Each step prints one line of JSON, ``[step, [[section, check], …]]``, so that what came before a
crash is known.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator

from deepmd_tf.doctor.report import Check
from deepmd_tf.errors import DeepmdError

SLOW = 200.0
"""ms for 192 atoms, beyond which something is wrong with the number of threads or the machine."""
REPORT_IT = "this should not happen; please report it with this page"

Found = Iterator[tuple[str, Check]]
"""Titles of sections, and checks in them."""


def _import() -> Found:
    from deepmd_tf.ops.library import tensorflow

    tensorflow()
    from deepmd_tf.graph.session import session_config

    config, cores = session_config(), len(os.sched_getaffinity(0))
    number = config.intra_op_parallelism_threads
    advice = f"there are {cores} cores; more threads are slower"
    note = ("note", advice) if number > cores else ()
    yield "Machine", Check("threads", str(number or f"automatic ({cores})"), *note)
    number = config.inter_op_parallelism_threads
    yield "Machine", Check("operations at a time", str(number or "automatic"))


def _native() -> Found:
    from deepmd_tf.doctor import gpu
    from deepmd_tf.ops import library

    library.native()
    yield "Machine", Check("instructions", library.instruction_set())
    yield from (("Machine", check) for check in gpu.checks(library.tensorflow()))


def _stock() -> Found:
    from deepmd_tf.ops import library

    library.stock()
    yield "Operations", Check("loading", "both load into this TensorFlow", "ok")


def _numbers() -> Found:
    from deepmd_tf.doctor.selftest import measures

    for found in measures():
        value = f"{found.error:.1e} (at most {found.limit:.0e})"
        state = ("ok",) if found.error <= found.limit else ("broken", REPORT_IT)
        yield "Self-test", Check(found.name, value, *state)


def _time() -> Found:
    from deepmd_tf.doctor.selftest import milliseconds

    time = milliseconds()
    value = f"{time:.1f} ms for energy and forces of 192 atoms"
    advice = "slow: is the machine busy, or are there more threads than cores?"
    yield "Self-test", Check("time", value, *(("note", advice) if time > SLOW else ("ok",)))


STEPS = {
    "import of TensorFlow": ("Operations", _import),
    "loading of the native operations": ("Operations", _native),
    "loading of the stock operations": ("Operations", _stock),
    "self-test": ("Self-test", _numbers),
    "timing": ("Self-test", _time),
}
"""Section where a failure is shown, and function, by name."""


def attempt(step: str) -> tuple[list[tuple[str, Check]], bool]:
    """Checks of one step, and whether it went through."""
    section, function = STEPS[step]
    try:
        return list(function()), True
    except DeepmdError as error:
        text = str(error)
    except Exception as error:  # whatever it is, it is what the user needs to know
        text = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    return [(section, Check(step, "failed", "broken", text))], False


def main() -> None:
    """Try all steps."""
    for step in STEPS:
        checks, passed = attempt(step)
        plain = [(section, dataclasses.asdict(check)) for section, check in checks]
        print(json.dumps([step, plain]), flush=True)
        if not passed:
            return


if __name__ == "__main__":
    main()
