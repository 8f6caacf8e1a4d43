# SPDX-License-Identifier: BSD-3-Clause
"""Python face of the compiled operations: docstrings, shapes, gradients.

The libraries are loaded when the first operation is built, not when this package is imported.
"""
