# SPDX-License-Identifier: BSD-3-Clause
"""What may be wrong with data, beyond what reading them shows."""
