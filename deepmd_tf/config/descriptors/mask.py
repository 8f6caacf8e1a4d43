# SPDX-License-Identifier: BSD-3-Clause
"""The descriptor of atoms that a mask leaves in, ``se_a_mask``."""

from __future__ import annotations

from typing import ClassVar, Literal

from deepmd_tf.config.descriptors.base import AnyDescriptorConfig
from deepmd_tf.config.descriptors.two_body import MatrixKeys
from deepmd_tf.config.section import option
from deepmd_tf.config.values import AtomCounts


@AnyDescriptorConfig.register
class DescriptorSeAMask(MatrixKeys):
    """``se_e2_a`` of molecules in which a mask says which atoms there are.

    Every atom sees every other, without a cutoff and without periodic images. The atomic parameter
    is the mask (aparam.npy: 1, or 0 for an atom that is not there), so that frames of different
    atoms have equal shapes; it needs numb_aparam 1 and use_aparam_as_mask in the fitting net.
    """

    masked: ClassVar[bool] = True

    type: Literal["se_a_mask"] = option(doc="Kind of descriptor.")
    sel: AtomCounts = option(
        doc="Number of atoms of each type in a frame, masked ones included; every system has these."
    )
