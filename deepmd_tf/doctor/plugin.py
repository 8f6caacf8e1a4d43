# SPDX-License-Identifier: BSD-3-Clause
"""What to tell other programs, so that they run models with the operations of this package."""

from __future__ import annotations

import shlex

from deepmd_tf.compiled import build_record, series
from deepmd_tf.doctor.installation import library_path

LAMMPS = [
    "units           metal",
    "atom_style      atomic",
    "pair_style      deepmd frozen_model.pb",
    "pair_coeff      * * O H    # names of the atom types 1, 2, … of your data file",
]
"""A native model in LAMMPS: the same lines as for any other."""


def shell_lines() -> list[str]:
    """Lines for a shell.

    The library takes TensorFlow from the program that loads it, so that no other path is needed.
    """
    path = shlex.quote(str(library_path("deepmd_tf_ops")))
    built = build_record().get("tensorflow")
    version = series(built) if built else "that they were built for"
    return [
        "# operations of native models (dp --tf freeze --native), for LAMMPS and other C++",
        f"# programs of DeePMD-kit, which must be there with TensorFlow {version}",
        f"export DP_PLUGIN_PATH={path}${{DP_PLUGIN_PATH:+:$DP_PLUGIN_PATH}}",
    ]
