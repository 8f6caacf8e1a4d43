# SPDX-License-Identifier: BSD-3-Clause
"""Formats that other programs parse: rows of lcurve.out and log lines."""

from __future__ import annotations

import datetime

import numpy as np

from deepmd_tf.training.record import Record, header, timing_message

COLUMNS = ("rmse", "rmse_e", "rmse_f")
TRAINING = {"rmse": 25.5, "rmse_e": 0.663, "rmse_f": 0.805}
VALIDATION = {"rmse": 25.3, "rmse_e": 0.664, "rmse_f": 0.798}
LR = float(np.float32(1e-3))
HINT = "# If there is no available reference data, rmse_*_{val,trn} will print nan\n"


def test_header_with_validation():
    assert header(COLUMNS, validation=True) == (
        "# step       rmse_val    rmse_trn    rmse_e_val  rmse_e_trn"
        "    rmse_f_val  rmse_f_trn   lr      \n" + HINT
    )


def test_header_without_validation():
    assert header(COLUMNS, validation=False) == (
        "# step       rmse_trn    rmse_e_trn    rmse_f_trn   lr      \n" + HINT
    )


def test_row_with_validation():
    assert Record(0, LR, TRAINING, VALIDATION).row() == (
        "      0      2.53e+01    2.55e+01      6.64e-01    6.63e-01"
        "      7.98e-01    8.05e-01    1.0e-03"
    )


def test_row_without_validation_and_with_a_missing_label():
    record = Record(2000, LR, {**TRAINING, "rmse_e": float("nan")})
    assert record.row() == "   2000      2.55e+01           nan      8.05e-01    1.0e-03"


def test_messages():
    record = Record(100, LR, {**TRAINING, "rmse_ae": 1.0}, VALIDATION)
    assert record.messages() == [
        "Batch     100: trn: rmse = 2.55e+01, rmse_ae = 1.00e+00, rmse_e = 6.63e-01, "
        "rmse_f = 8.05e-01, lr = 1.00e-03",
        "Batch     100: val: rmse = 2.53e+01, rmse_e = 6.64e-01, rmse_f = 7.98e-01",
    ]


def test_summary_shows_validation_errors_if_there_are_any():
    assert Record(100, LR, TRAINING, VALIDATION).summary() == "e 6.6e-01  f 8.0e-01"
    assert Record(100, LR, {"rmse": 1.0, "rmse_f": 0.25}).summary() == "f 2.5e-01"


def test_timing_message():
    now = datetime.datetime(2026, 1, 31, 23, 0, 30)
    assert timing_message(100, 1.234, 3661, now) == (
        "Batch     100: total wall time = 1.23 s, eta = 1:01:01 at 2026-02-01 00:01"
    )
