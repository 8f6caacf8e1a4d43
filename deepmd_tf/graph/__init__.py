# SPDX-License-Identifier: BSD-3-Clause
"""Models in files: reading weights and input script, writing frozen graphs, sessions to run
them."""
