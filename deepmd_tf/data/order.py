# SPDX-License-Identifier: BSD-3-Clause
"""In which order training uses the frames of a system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deepmd_tf.errors import DataError


class FrameOrder:
    """Goes through the sets of a system in turn, each in random order, again and again.

    The frames of a set are shuffled when its turn comes, each as often as it has copies. What is
    left at the end, less than a batch, is passed over; a set smaller than a batch gives one smaller
    batch. With the same generator this is the sequence of DeePMD-kit (which, however, multiplies
    the copies of a single set anew in every pass).

    Parameters
    ----------
    set_sizes
        Number of frames of each set.
    copies
        How often to use each frame of the set with the given index: int64 [size of the set].
    """

    def __init__(self, set_sizes: Sequence[int], copies: Callable[[int], np.ndarray | int]) -> None:
        self._set_sizes = list(set_sizes)
        self._copies = copies
        self._turn = 0
        self._set = 0
        self._frames = np.zeros(0, dtype=np.int64)
        self._position = 0

    def take(self, batch_size: int, rng: np.random.RandomState) -> tuple[int, np.ndarray]:
        """Index of a set and the indices of the next frames in it, at most `batch_size`."""
        if self._position + batch_size > len(self._frames):
            self._begin_set(rng)
        frames = self._frames[self._position : self._position + batch_size]
        self._position += batch_size
        return self._set, frames

    def _begin_set(self, rng: np.random.RandomState) -> None:
        index = self._turn % len(self._set_sizes)
        if len(self._set_sizes) == 1 and self._turn > 0:
            # A single set is shuffled from the order it is in, not from the order of the file.
            frames = self._frames
            step = np.arange(len(frames))
            rng.shuffle(step)
            frames = frames[step]
        else:
            frames = np.repeat(np.arange(self._set_sizes[index]), self._copies(index))
            rng.shuffle(frames)
        self._turn += 1
        self._set = index
        self._frames = frames
        self._position = 0

    def get_state(self) -> dict[str, Any]:
        """Everything that the next batches depend on besides the generator, in types of JSON."""
        return {
            "set_sizes": self._set_sizes,
            "turn": self._turn,
            "set": self._set,
            "position": self._position,
            "frames": self._frames.tolist(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`get_state` was called.

        Raises
        ------
        DataError
            If the state belongs to other sets, or is not such a state.
        """
        try:
            sizes = list(state["set_sizes"])
            frames = np.array(state["frames"], dtype=np.int64).reshape(-1)
            turn, index, position = (int(state[key]) for key in ("turn", "set", "position"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"saved order of frames cannot be used: {error!r}") from error
        if sizes != self._set_sizes:
            raise DataError(
                f"the sets have {self._set_sizes} frames, but {sizes} when the order was saved; "
                "the data have changed"
            )
        in_range = not len(frames) or 0 <= frames.min() <= frames.max() < sizes[index]
        if not (turn >= 0 and 0 <= index < len(sizes) and position >= 0 and in_range):
            raise DataError("saved order of frames cannot be used: a number is out of range")
        self._turn, self._set, self._position, self._frames = turn, index, position, frames
