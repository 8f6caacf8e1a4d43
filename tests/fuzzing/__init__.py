# SPDX-License-Identifier: BSD-3-Clause
"""Damaged files for everything that reads files of users.

Good files are changed at random, written, and loaded. What comes back must be usable data that the
file really holds, as somebody else reads it, or one DeepmdError that names the file. Anything else
is a failure: another exception, a warning, a crash, a case that takes longer than
:data:`fuzzing.run.SECONDS` or more memory than :data:`fuzzing.run.MEMORY`::

    PYTHONPATH=tests python -m fuzzing extxyz --cases 5000 --seed 7

prints how many files were read, how many of those nobody else could judge, and how many were
refused. The file of a failure stays in the folder that the message names, and
``--first NUMBER --cases 1`` with the same seed makes it again.
"""
