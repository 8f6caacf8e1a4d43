# SPDX-License-Identifier: BSD-3-Clause
"""Models in files: reading weights and input scripts, writing frozen graphs; sessions."""

from __future__ import annotations

from deepmd_tf.ops.library import tensorflow

# The modules of this package import TensorFlow by its name; here it is imported first, without its
# noise, and with a message that helps when it is not installed.
tensorflow()
