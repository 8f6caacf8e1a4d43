# SPDX-License-Identifier: BSD-3-Clause
"""What the benchmarks share: programs that are measured, their inputs, the floor, the report."""
