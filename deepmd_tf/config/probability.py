# SPDX-License-Identifier: BSD-3-Clause
"""How often each system is drawn: the forms of ``auto_prob`` and ``sys_probs``."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Literal, NamedTuple

Rule = Literal["uniform", "size"]

FORMS = (
    '"prob_uniform", "prob_sys_size", or "prob_sys_size;<first>:<end>:<weight>;…" '
    "(systems first to end−1 share the weight)"
)
SUM_TOLERANCE = 1e-8


class Block(NamedTuple):
    """Systems ``first`` … ``end`` − 1, drawn together with a relative weight."""

    first: int
    end: int
    weight: float


@dataclasses.dataclass(frozen=True)
class SystemProbability:
    """A parsed ``auto_prob``.

    ``uniform``: every system is as likely. ``size``: in proportion to its number of batches; with
    ``blocks``, a block gets its share of the sum of weights, divided in proportion to the batches
    of its systems, and systems outside all blocks are never drawn.
    """

    rule: Rule
    blocks: tuple[Block, ...] = ()

    @classmethod
    def parse(cls, text: Any) -> SystemProbability:
        """Read the value of the key ``auto_prob``.

        Raises
        ------
        ValueError
            What is wrong, in words for the user.
        """
        if text == "prob_uniform":
            return cls("uniform")
        if text == "prob_sys_size":
            return cls("size")
        if not isinstance(text, str) or not text.startswith("prob_sys_size;"):
            raise ValueError(f"expected {FORMS}")
        blocks = tuple(_block(part) for part in text.split(";")[1:])
        if not 0 < sum(block.weight for block in blocks) < math.inf:
            raise ValueError("at least one weight must be larger than 0, and their sum finite")
        in_order = sorted(blocks)
        for a, b in itertools.pairwise(in_order):
            if b.first < a.end:
                raise ValueError(f"the blocks {a.first}:{a.end} and {b.first}:{b.end} overlap")
        return cls("size", blocks)


def _block(text: str) -> Block:
    try:
        first, end, weight = text.split(":")
        block = Block(int(first), int(end), float(weight))
    except ValueError:
        raise ValueError(
            f'the block "{text}" must be <first>:<end>:<weight>, as in "0:3:0.5"'
        ) from None
    if not 0 <= block.first < block.end:
        raise ValueError(
            f'the block "{text}" holds no system; systems are counted from 0, end excluded'
        )
    if not (block.weight >= 0 and math.isfinite(block.weight)):
        raise ValueError(f'the weight of the block "{text}" must be ≥ 0')
    return block


def check_sys_probs(values: list[float]) -> None:
    """Check the list ``sys_probs``: a negative entry asks for a share of what the others leave.

    Raises
    ------
    ValueError
        If the probabilities cannot add up to 1.
    """
    total = math.fsum(p for p in values if p >= 0)
    shares = any(p < 0 for p in values)
    if total > 1 + SUM_TOLERANCE:
        raise ValueError(f"the probabilities add up to {total:g}, more than 1")
    if shares and math.isclose(total, 1.0, abs_tol=SUM_TOLERANCE):
        raise ValueError(
            "the probabilities add up to 1, so nothing is left for the negative entries"
        )
    if not shares and not math.isclose(total, 1.0, abs_tol=SUM_TOLERANCE):
        raise ValueError(
            f"the probabilities add up to {total:g}, not 1; a negative entry would take what is "
            "left"
        )
