# SPDX-License-Identifier: BSD-3-Clause
"""How systems are stored: directories of NumPy files, HDF5, extended XYZ; reading and writing."""
