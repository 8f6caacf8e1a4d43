# SPDX-License-Identifier: BSD-3-Clause
"""Training: the loop, its files, and what is shown meanwhile."""
