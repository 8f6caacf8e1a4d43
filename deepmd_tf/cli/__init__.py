# SPDX-License-Identifier: BSD-3-Clause
"""The ``dp`` command: one module per subcommand.

A module ``deepmd_tf/cli/<command>.py`` (``_`` for ``-`` in the name of the command) is a subcommand
by being there. It defines

``add_parser(subparsers) -> argparse.ArgumentParser``
    adds its parser with ``subparsers.add_parser("<command>", help=..., ...)`` and returns it;
    :func:`deepmd_tf.cli._options.add_log_options` adds the options that every command has;
``run(args) -> int | None``
    does the work; the result is the exit status (``None``: 0). What the user did wrong is raised as
    :class:`deepmd_tf.errors.DeepmdError` and printed without a traceback.

Importing such a module must not import TensorFlow: imports that need it go inside ``run``, so that
``dp --tf -h`` answers at once. Modules whose name begins with ``_`` and :mod:`deepmd_tf.cli.main`
are not commands.
"""
