# SPDX-License-Identifier: BSD-3-Clause
"""What there is of a GPU: its lines of the page."""

from __future__ import annotations

from typing import Any

from deepmd_tf.doctor import cubins
from deepmd_tf.doctor.report import Check
from deepmd_tf.environment_variables import DEVICE
from deepmd_tf.ops import device


def checks(tf: Any) -> list[Check]:
    """Lines of the page; the native library is loaded."""
    described = device.description()
    names = {name for name, _ in described}
    found = [_device(tf, "card" in names)]
    if "!driver" in names and device.wanted() != "gpu":
        return found  # a machine without one, as most are
    for name, value in described:
        if name.startswith("!"):
            found.append(Check(name[1:], "missing", "note", value))
        elif name != "cache":
            found.append(Check(name, value))
    return [*found, Check("compiled kernels", cubins.describe())]


def _device(tf: Any, card: bool) -> Check:
    gpus = len(tf.config.list_physical_devices("GPU"))
    why = device.why_not_gpu(tf)
    if why is None:
        return Check("device", f"GPU; TensorFlow sees {gpus}", "ok")
    if device.wanted() == "gpu":
        return Check("device", "processor", "broken", why)
    if gpus and not device.wanted():
        advice = f"{DEVICE}=gpu runs the operations of deepmd_tf there, too"
        return Check("device", f"processor; TensorFlow sees {gpus} GPU", "note", advice)
    if card and not gpus and not device.wanted():
        value = "processor; there is a GPU, but TensorFlow does not see it"
        return Check("device", value, "note", device.no_gpu_in(tf))
    return Check("device", f"processor ({why})")
