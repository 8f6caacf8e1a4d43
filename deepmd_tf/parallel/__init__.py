# SPDX-License-Identifier: BSD-3-Clause
"""Several processes that do one thing together, started by a launcher of MPI; without TensorFlow.

A process is a *rank*. Rank 0 writes files and messages. All ranks call the methods of
:class:`~deepmd_tf.parallel.ranks.Ranks` in the same order.
"""

from deepmd_tf.parallel.joining import joined
from deepmd_tf.parallel.ranks import ALONE, Ranks
from deepmd_tf.parallel.turns import in_turns

__all__ = ["ALONE", "Ranks", "in_turns", "joined"]
