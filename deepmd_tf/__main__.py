# SPDX-License-Identifier: BSD-3-Clause
"""``python -m deepmd_tf``: the same as ``dp``."""

from __future__ import annotations

import sys

from deepmd_tf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
