# SPDX-License-Identifier: BSD-3-Clause
"""Frozen graphs: one file that drives molecular dynamics."""
