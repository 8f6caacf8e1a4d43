#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Make an environment of DeePMD-kit 2, whose files are read here, too.
#
#     tests/interop/make_peer_2.sh FOLDER [PYTHON]
#
# PYTHON is of a version that the wheel's TensorFlow is made for, 3.9 to 3.12; by default the first
# such one that is found. Then
#
#     DEEPMD_STOCK2_PYTHON=FOLDER/bin/python python -m pytest -m peer
set -euo pipefail
folder=${1:?usage: make_peer_2.sh FOLDER [PYTHON]}

usable() {
    "$1" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info < (3, 13))' 2>/dev/null
}
python=
for candidate in "${2:-python3}" python3.12 python3.11 python3.10 python3.9; do
    usable "$candidate" && python=$candidate && break
done
[ -n "$python" ] || {
    echo "make_peer_2.sh: no Python 3.9 to 3.12 was found" >&2
    exit 1
}

export PIP_DISABLE_PIP_VERSION_CHECK=1
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet 'deepmd-kit[cpu]==2.2.11'
"$folder/bin/python" -c 'import deepmd' 2>/dev/null || {
    echo "make_peer_2.sh: the package in $folder cannot be imported" >&2
    exit 1
}
