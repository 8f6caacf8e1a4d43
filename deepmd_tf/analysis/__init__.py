# SPDX-License-Identifier: BSD-3-Clause
"""Analysis of data and models: neighbours, deviation of models, descriptors."""
