# SPDX-License-Identifier: BSD-3-Clause
"""Networks: activations, parameters, embedding and fitting layers, interpolation tables."""
