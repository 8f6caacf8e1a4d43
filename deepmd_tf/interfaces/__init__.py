# SPDX-License-Identifier: BSD-3-Clause
"""Models in other programs' clothes; each module imports the package that it is for."""
