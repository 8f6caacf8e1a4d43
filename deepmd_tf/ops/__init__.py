# SPDX-License-Identifier: BSD-3-Clause
"""Python face of the compiled operations: docstrings, shapes, gradients.

Importing this package imports TensorFlow. The libraries themselves are loaded when the first
operation is built; the operations with stock names are in :mod:`deepmd_tf.ops.stock`.
"""

from __future__ import annotations

from deepmd_tf.ops.adam import apply_adam
from deepmd_tf.ops.angles import AngleSlots, angle_rows, angle_sums, angle_table, node_places
from deepmd_tf.ops.attention import (
    neighbor_attention,
    neighbor_attention_hvp,
    neighbor_attention_vjp,
)
from deepmd_tf.ops.contract import contract, contract_columns, contract_rows
from deepmd_tf.ops.descriptor import descriptor, descriptor_jvp, descriptor_vjp
from deepmd_tf.ops.embedding_jets import embedding_jets, embedding_values
from deepmd_tf.ops.env_matrix import (
    env_matrix,
    env_matrix_hvp,
    env_matrix_jvp,
    env_matrix_jvp_of_jvp,
    env_matrix_vjp,
)
from deepmd_tf.ops.fitting_nets import fitting_nets, join_weights
from deepmd_tf.ops.fragments import Fragments, fragments
from deepmd_tf.ops.layer_norm import layer_norm, layer_norm_hvp, layer_norm_vjp
from deepmd_tf.ops.matmul import matmul
from deepmd_tf.ops.moment import (
    moment,
    moment_of_rows,
    moment_of_rows_vjp,
    moment_outside,
    moment_rows,
    moment_table,
    moment_tangent_rows,
)
from deepmd_tf.ops.neighbors import NeighborList, neighbor_list
from deepmd_tf.ops.pair_spline import pair_spline
from deepmd_tf.ops.pairs import (
    gather_pairs,
    pair_forces,
    pair_forces_vjp,
    pair_virial,
    scatter_pairs,
)

__all__ = [
    "AngleSlots",
    "Fragments",
    "NeighborList",
    "angle_rows",
    "angle_sums",
    "angle_table",
    "apply_adam",
    "contract",
    "contract_columns",
    "contract_rows",
    "descriptor",
    "descriptor_jvp",
    "descriptor_vjp",
    "embedding_jets",
    "embedding_values",
    "env_matrix",
    "env_matrix_hvp",
    "env_matrix_jvp",
    "env_matrix_jvp_of_jvp",
    "env_matrix_vjp",
    "fitting_nets",
    "fragments",
    "gather_pairs",
    "join_weights",
    "layer_norm",
    "layer_norm_hvp",
    "layer_norm_vjp",
    "matmul",
    "moment",
    "moment_of_rows",
    "moment_of_rows_vjp",
    "moment_outside",
    "moment_rows",
    "moment_table",
    "moment_tangent_rows",
    "neighbor_attention",
    "neighbor_attention_hvp",
    "neighbor_attention_vjp",
    "neighbor_list",
    "node_places",
    "pair_forces",
    "pair_forces_vjp",
    "pair_spline",
    "pair_virial",
    "scatter_pairs",
]
