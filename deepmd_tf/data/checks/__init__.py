# SPDX-License-Identifier: BSD-3-Clause
"""Checks of data beyond those of reading them."""
