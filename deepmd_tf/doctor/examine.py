# SPDX-License-Identifier: BSD-3-Clause
"""Put the report together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deepmd_tf.doctor import installation, machine, trial
from deepmd_tf.doctor.report import Check, Examination

SLOW = 200.0
"""ms for 192 atoms, beyond which something is wrong with the number of threads or the machine."""
TITLES = {
    "import": "import of TensorFlow",
    "native": "loading of the native operations",
    "stock": "loading of the stock operations",
    "numbers": "self-test",
    "time": "timing",
}
REPORT_IT = "this should not happen; please report it with this page"


def examine() -> Examination:
    """Look at everything; takes some seconds, most of them for starting TensorFlow."""
    found, ended = trial.run()
    sections = {
        "Installed": installation.packages(),
        "Operations": [*installation.operations(), *_loaded(found, ended)],
        "Machine": [*machine.processor(), *_used(found), *_gpu(found)],
        "Environment": machine.variables(os.environ),
        "Self-test": _self_test(found, ended),
    }
    return Examination(sections, installation.shell_lines(), installation.LAMMPS)


def _failure(step: str, found: dict[str, Any], ended: str) -> list[Check]:
    """A check if ``step`` failed, or if the process ended in it."""
    if error := found.get(step, {}).get("error"):
        return [Check(TITLES[step], "failed", "broken", error)]
    reached = [s for s in trial.STEPS if s in found]
    next_step = trial.STEPS[len(reached)] if len(reached) < len(trial.STEPS) else None
    if ended and step == next_step:
        advice = "TensorFlow does not run on this machine: try another release of it"
        return [Check(TITLES[step], ended, "broken", advice if step == "import" else REPORT_IT)]
    return []


def _loaded(found: dict[str, Any], ended: str) -> list[Check]:
    checks = []
    for step in ("import", "native", "stock"):
        checks += _failure(step, found, ended)
    if not checks and "stock" in found:
        checks.append(Check("loading", "both load into this TensorFlow", "ok"))
    return checks


def _used(found: dict[str, Any]) -> list[Check]:
    checks = []
    if isa := found.get("native", {}).get("isa"):
        checks.append(Check("instructions", isa))
    if "threads" in (facts := found.get("import", {})):
        number, cores = facts["threads"], len(os.sched_getaffinity(0))
        value = str(number) if number else f"automatic ({cores})"
        checks.append(
            Check("threads", value, "note", f"there are {cores} cores; more threads are slower")
            if number > cores
            else Check("threads", value)
        )
        checks.append(Check("operations at a time", str(facts["operations"] or "automatic")))
    return checks


def _gpu(found: dict[str, Any]) -> list[Check]:
    facts = found.get("import", {})
    if "gpus" not in facts:
        return []
    if facts["gpus"]:
        value = f"{len(facts['gpus'])} seen by TensorFlow"
        return [Check("GPU", value, "note", "the operations of deepmd_tf run on the processor")]
    if not Path("/proc/driver/nvidia/version").exists():
        return [Check("GPU", "none")]
    why = "its drivers and CUDA do not fit" if facts["cuda"] else "this one is for processors only"
    return [Check("GPU", f"there is one, but TensorFlow does not see it: {why}", "note")]


def _self_test(found: dict[str, Any], ended: str) -> list[Check]:
    checks = [*_failure("numbers", found, ended)]
    for measure in found.get("numbers", {}).get("measures", []):
        good = measure["error"] <= measure["limit"]
        value = f"{measure['error']:.1e} (at most {measure['limit']:.0e})"
        checks.append(
            Check(measure["name"], value, "ok")
            if good
            else Check(measure["name"], value, "broken", REPORT_IT)
        )
    checks += _failure("time", found, ended)
    if time := found.get("time", {}).get("milliseconds"):
        value = f"{time:.1f} ms for energy and forces of 192 atoms"
        advice = "slow: is the machine busy, or are there more threads than cores?"
        checks.append(
            Check("time", value, "note", advice) if time > SLOW else Check("time", value, "ok")
        )
    return checks or [Check("self-test", "not reached", "broken", "mend what is said above")]
