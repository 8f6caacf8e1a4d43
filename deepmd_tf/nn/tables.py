# SPDX-License-Identifier: BSD-3-Clause
"""The tables of a model that has several environments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tensorflow.compat.v1 as tf

from deepmd_tf.nn.table import EmbeddingTable, TableReport


def _relative_error(report: TableReport) -> float:
    """Measured error in units of the requested accuracy."""
    return report.error / report.tolerance


class EmbeddingTables:
    """The tables of all environments of a descriptor.

    Attributes
    ----------
    tables
        One or more.
    """

    def __init__(self, tables: Sequence[EmbeddingTable]) -> None:
        self.tables = tuple(tables)

    @classmethod
    def join(cls, tables: Iterable[EmbeddingTable | None]) -> EmbeddingTables | None:
        """Those that exist; None when there is none."""
        found = [table for table in tables if table is not None]
        return cls(found) if found else None

    @property
    def report(self) -> TableReport | None:
        """The least accurate of the measured errors; None before they were measured."""
        reports = [table.report for table in self.tables if table.report is not None]
        if len(reports) < len(self.tables):
            return None
        return max(reports, key=_relative_error)

    def refresh(self, session: tf.Session) -> TableReport:
        """See :meth:`EmbeddingTable.refresh`."""
        reports = [table.refresh(session) for table in self.tables]
        return max(reports, key=_relative_error)
