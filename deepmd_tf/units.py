# SPDX-License-Identifier: BSD-3-Clause
"""The units of every number that enters or leaves the package.

There is one unit per quantity and no conversion anywhere inside: data files, tensors, model files
and printed lines all use these, but for tables that say so. The names are for messages, tables and
documentation.
"""

from __future__ import annotations

LENGTH = "Å"
ENERGY = "eV"
FORCE = "eV/Å"
VIRIAL = "eV"
STRESS = "eV/Å³"
HESSIAN = "eV/Å²"
DIMENSIONLESS = "1"
LABEL = "any"
"""Of dipole moments and polarisabilities: predictions have the unit of the labels. Charges from
derivatives are in elementary charges where dipole moments are in e Å."""
DOS = "states/eV"

GPA_PER_EV_A3 = 160.2176634
"""GPa in 1 eV/Å³ (SI 2019), for tables."""
