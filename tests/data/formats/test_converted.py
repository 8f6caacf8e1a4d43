# SPDX-License-Identifier: BSD-3-Clause
"""What ``dp convert-data`` writes in each format is the directory that it was given."""

from __future__ import annotations

from format_contract import FormatContract

from deepmd_tf.interfaces.conversion import convert_data


class TestDirectory(FormatContract):
    output = "converted"

    def store(self, directory, folder):
        convert_data([str(directory)], folder / self.output)
        return f"{folder}/{self.output}"


class TestHdf5(TestDirectory):
    output = "converted.h5"


class TestExtendedXyz(TestDirectory):
    output = "converted.extxyz"
