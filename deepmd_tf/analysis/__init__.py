# SPDX-License-Identifier: BSD-3-Clause
"""What users find out about data and models: neighbours, deviation of models, descriptors."""
