# SPDX-License-Identifier: BSD-3-Clause
"""Whether this installation works, and what to do if not: ``dp --tf doctor``.

:func:`deepmd_tf.doctor.examine.examine` makes a :class:`~deepmd_tf.doctor.report.Report`. All that
needs TensorFlow happens in a process of its own (:mod:`deepmd_tf.doctor.trial`), so that the report
is made whatever is missing or crashes.
"""
