# SPDX-License-Identifier: BSD-3-Clause
"""Commands that evaluate data, on one process or several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepmd_tf.parallel import Ranks


@contextmanager
def sharing_ranks() -> Iterator[Ranks]:
    """The processes that share such a command, each with its threads; see
    :func:`deepmd_tf.parallel.joined`.
    """
    from deepmd_tf.parallel import joined
    from deepmd_tf.parallel.processors import share_processors

    with joined(trains=False) as ranks:
        share_processors(ranks)
        yield ranks
