# SPDX-License-Identifier: BSD-3-Clause
"""Put the report together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deepmd_tf.doctor import installation, machine, plugin, trial
from deepmd_tf.doctor.report import Finding, Report, Section

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


def examine() -> Report:
    """Look at everything; takes some seconds, most of them for starting TensorFlow."""
    found, ended = trial.run()
    return Report(
        sections=[
            Section("Installed", installation.packages()),
            Section("Operations", [*installation.operations(), *_loaded(found, ended)]),
            Section("Machine", [*machine.processor(), *_used(found), *_gpu(found)]),
            Section("Environment", machine.variables(os.environ)),
            Section("Self-test", _self_test(found, ended)),
        ],
        shell=plugin.shell_lines(),
        lammps=plugin.LAMMPS,
    )


def _failure(step: str, found: dict[str, Any], ended: str) -> list[Finding]:
    """A finding if ``step`` failed, or if the process ended in it."""
    if error := found.get(step, {}).get("error"):
        return [Finding(TITLES[step], "failed", "broken", error)]
    reached = [s for s in trial.STEPS if s in found]
    next_step = trial.STEPS[len(reached)] if len(reached) < len(trial.STEPS) else None
    if ended and step == next_step:
        advice = "TensorFlow does not run on this machine: try another release of it"
        return [Finding(TITLES[step], ended, "broken", advice if step == "import" else REPORT_IT)]
    return []


def _loaded(found: dict[str, Any], ended: str) -> list[Finding]:
    findings = []
    for step in ("import", "native", "stock"):
        findings += _failure(step, found, ended)
    if not findings and "stock" in found:
        findings.append(Finding("loading", "both load into this TensorFlow", "ok"))
    return findings


def _used(found: dict[str, Any]) -> list[Finding]:
    findings = []
    if isa := found.get("native", {}).get("isa"):
        findings.append(Finding("instructions", isa))
    if "threads" in (facts := found.get("import", {})):
        number, cores = facts["threads"], len(os.sched_getaffinity(0))
        value = str(number) if number else f"automatic ({cores})"
        findings.append(
            Finding("threads", value, "note", f"there are {cores} cores; more threads are slower")
            if number > cores
            else Finding("threads", value)
        )
        findings.append(Finding("operations at a time", str(facts["operations"] or "automatic")))
    return findings


def _gpu(found: dict[str, Any]) -> list[Finding]:
    facts = found.get("import", {})
    if "gpus" not in facts:
        return []
    if facts["gpus"]:
        value = f"{len(facts['gpus'])} seen by TensorFlow"
        return [Finding("GPU", value, "note", "the operations of deepmd_tf run on the processor")]
    if not Path("/proc/driver/nvidia/version").exists():
        return [Finding("GPU", "none")]
    why = "its drivers and CUDA do not fit" if facts["cuda"] else "this one is for processors only"
    return [Finding("GPU", f"there is one, but TensorFlow does not see it: {why}", "note")]


def _self_test(found: dict[str, Any], ended: str) -> list[Finding]:
    findings = [*_failure("numbers", found, ended)]
    for measure in found.get("numbers", {}).get("measures", []):
        good = measure["error"] <= measure["limit"]
        value = f"{measure['error']:.1e} (at most {measure['limit']:.0e})"
        findings.append(
            Finding(measure["name"], value, "ok")
            if good
            else Finding(measure["name"], value, "broken", REPORT_IT)
        )
    findings += _failure("time", found, ended)
    if time := found.get("time", {}).get("milliseconds"):
        value = f"{time:.1f} ms for energy and forces of 192 atoms"
        advice = "slow: is the machine busy, or are there more threads than cores?"
        findings.append(
            Finding("time", value, "note", advice) if time > SLOW else Finding("time", value, "ok")
        )
    return findings or [Finding("self-test", "not reached", "broken", "mend what is said above")]
