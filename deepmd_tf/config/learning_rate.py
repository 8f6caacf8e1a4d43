# SPDX-License-Identifier: BSD-3-Clause
"""The section ``learning_rate`` and the schedules it describes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Literal, overload

import numpy as np
from pydantic import ValidationInfo, field_validator

from deepmd_tf.config.section import Section, option
from deepmd_tf.config.values import Bool, Int, Number
from deepmd_tf.errors import InputError

log = logging.getLogger(__name__)

FORM = "Form of the schedule."
DEFAULT_STOP_LR = 5e-8
SMALLEST_STOP_LR = 1e-10
"""Where the decay rate is derived from ``stop_lr``, a smaller one (zero) is replaced by this, or by
``start_lr`` if that is smaller still."""


_Decay = Callable[[np.ndarray], np.ndarray]


class _LearningRate(Section):
    """Base class of all schedules."""

    type: Literal["exp", "cosine", "wsd"]
    start_lr: Number = option(
        gt=0,
        le=1e30,  # float32
        doc="Learning rate at the start, after the warm-up. The loss prefactors follow its decay.",
    )
    stop_lr_ratio: Number | None = option(
        None,
        ge=0,
        le=1,
        doc="Learning rate at the end, as a fraction of start_lr; instead of stop_lr.",
    )
    stop_lr: Number | None = option(
        None,
        ge=0,
        doc="Learning rate at the end. 5e-8 when neither this nor stop_lr_ratio is given.",
    )
    warmup_ratio: Number | None = option(
        None,
        ge=0,
        lt=1,
        doc="Length of the warm-up as a fraction of all steps; instead of warmup_steps.",
    )
    warmup_steps: Int = option(
        0,
        ge=0,
        unit="steps",
        doc="Length of the warm-up, in which the learning rate grows linearly.",
    )
    warmup_start_factor: Number = option(
        0.0, ge=0, doc="The warm-up begins at this fraction of start_lr."
    )
    scale_by_worker: Literal["linear", "sqrt", "none"] = option(
        "linear", doc="Growth of the learning rate with the number of parallel workers."
    )

    @field_validator("stop_lr")
    @classmethod
    def _one_end(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "stop_lr_ratio" not in info.data:
            return value
        if info.data["stop_lr_ratio"] is not None:
            if value is not None:
                raise ValueError("stop_lr_ratio is given too; give only one of them")
            return None
        end = DEFAULT_STOP_LR if value is None else value
        start = info.data.get("start_lr", math.inf)
        if end > start:
            default = ", the default," if value is None else ""
            raise ValueError(f"{end:g}{default} is larger than start_lr ({start:g})")
        return end

    @field_validator("warmup_steps")
    @classmethod
    def _short_warmup(cls, value: int, info: ValidationInfo) -> int:
        num_steps = (info.context or {}).get("num_steps")
        if value and info.data.get("warmup_ratio") is not None:
            raise ValueError("warmup_ratio is given too; give only one of them")
        if value and num_steps is not None and value >= num_steps:
            raise ValueError(f"must be smaller than training.numb_steps ({num_steps})")
        return value

    @property
    def end(self) -> float:
        """Learning rate at the end."""
        if self.stop_lr is not None:
            return self.stop_lr
        assert self.stop_lr_ratio is not None
        return self.start_lr * self.stop_lr_ratio


class LearningRateExp(_LearningRate):
    """Exponential decay, start_lr · decay_rate^(t / decay_steps), never below stop_lr."""

    type: Literal["exp"] = option("exp", doc=FORM)
    decay_steps: Int = option(
        5000,
        ge=1,
        unit="steps",
        doc="Steps between two drops of the learning rate. When it is not shorter than the whole "
        "decay and "
        "decay_rate is not given, a hundredth of the decay is taken (plus one; at most 100).",
    )
    decay_rate: Number | None = option(
        None,
        gt=0,
        le=1,
        doc="Factor of one drop; stop_lr is then only the lower bound. By default it is such that "
        "the end "
        "of training reaches stop_lr.",
    )
    smooth: Bool = option(False, doc="Decay a little in every step instead of once in decay_steps.")


class LearningRateCosine(_LearningRate):
    """Half a cosine from start_lr down to stop_lr."""

    type: Literal["cosine"] = option("cosine", doc=FORM)


class LearningRateWSD(_LearningRate):
    """Warm-up, a long stretch at start_lr, then decay to stop_lr in the last part."""

    type: Literal["wsd"] = option("wsd", doc=FORM)
    decay_phase_ratio: Number = option(
        0.1, gt=0, le=1, doc="Length of the decay, as a fraction of all steps."
    )
    decay_type: Literal["inverse_linear", "cosine", "linear"] = option(
        "inverse_linear", doc="Form of the decay: linear in 1/lr, half a cosine, or linear in lr."
    )

    @field_validator("stop_lr", "stop_lr_ratio")
    @classmethod
    def _positive_end(cls, value: float | None) -> float | None:
        if value == 0:
            raise ValueError('expected a number > 0 for the type "wsd"')
        return value


LearningRateConfig = LearningRateExp | LearningRateCosine | LearningRateWSD


class LearningRate:
    """Learning rate as a function of the step, lr(step).

    Evaluated in float64 and rounded to float32 once, at the end. During the first ``warmup_steps``
    it grows linearly from ``warmup_start`` to ``start``; the decay counts its steps from there.

    Attributes
    ----------
    start, stop
        Values at the beginning of the decay and at its end.
    num_steps, warmup_steps
        All steps of training, and those of the warm-up.
    """

    def __init__(
        self,
        decay: Callable[[np.ndarray], np.ndarray],
        *,
        start: float,
        stop: float,
        num_steps: int,
        warmup_steps: int,
        warmup_start: float,
    ) -> None:
        self._decay = decay
        self.start = start
        self.stop = stop
        self.num_steps = num_steps
        self.warmup_steps = warmup_steps
        self.warmup_start = warmup_start

    @overload
    def __call__(self, step: int) -> np.float32: ...

    @overload
    def __call__(self, step: np.ndarray) -> np.ndarray: ...

    def __call__(self, step: int | np.ndarray) -> np.float32 | np.ndarray:
        """Learning rate at ``step`` (0: before the first update), float32; arrays give arrays."""
        t = np.asarray(step, dtype=np.float64)
        rate = self._decay(np.maximum(t - self.warmup_steps, 0.0))
        if self.warmup_steps:
            slope = (self.start - self.warmup_start) * (t / self.warmup_steps)
            rate = np.where(t < self.warmup_steps, self.warmup_start + slope, rate)
        rate = np.asarray(rate).astype(np.float32)
        return rate if rate.ndim else rate[()]


def schedule(config: LearningRateConfig, num_steps: int) -> LearningRate:
    """The schedule of a training of ``num_steps`` steps.

    With a = start_lr, b = stop_lr, T steps after the warm-up, and t counted from its end:

    * exp: max(b, a·r^⌊t/s⌋), or r^(t/s) if smooth; r = (max(b, min(a, 1e-10))/a)^(s/T) unless
      given;
    * cosine: b + (a − b)·(1 + cos(πt/T))/2;
    * wsd: a, then over the last max(1, min(⌊decay_phase_ratio·num_steps⌋, T)) steps, with τ
      going from 0 to 1: 1/(τ/b + (1 − τ)/a), or b + (a − b)·(1 + cos πτ)/2, or a + (b − a)τ.

    After T it stays at b.

    Raises
    ------
    InputError
        If the warm-up is not shorter than the training.
    """
    warmup = config.warmup_steps
    if config.warmup_ratio is not None:
        warmup = int(config.warmup_ratio * num_steps)
    if num_steps < 0 or warmup > max(num_steps - 1, 0):
        raise InputError(
            f"learning_rate: a warm-up of {warmup} steps does not fit into a training of "
            f"{num_steps}"
        )
    forms: dict[str, Callable[..., _Decay]] = {
        "exp": _exponential,
        "cosine": _cosine,
        "wsd": _stable_then_decay,
    }
    return LearningRate(
        forms[config.type](config, num_steps, num_steps - warmup),
        start=config.start_lr,
        stop=config.end,
        num_steps=num_steps,
        warmup_steps=warmup,
        warmup_start=config.warmup_start_factor * config.start_lr,
    )


def _exponential(config: LearningRateExp, num_steps: int, total: int) -> _Decay:
    start, stop, every, rate = config.start_lr, config.end, config.decay_steps, config.decay_rate
    _tell_of_long_steps(config, total)
    if rate is None:
        if every >= total:
            every = 100 if total // 10 > 100 else total // 100 + 1
        rate = (
            math.exp(math.log(max(stop, min(start, SMALLEST_STOP_LR)) / start) / (total / every))
            if total
            else 1.0
        )

    def decay(t: np.ndarray) -> np.ndarray:
        drops = t / every if config.smooth else t // every
        return np.maximum(start * np.power(rate, drops), stop)

    return decay


def _tell_of_long_steps(config: LearningRateExp, total: int) -> None:
    if config.decay_steps < total or "decay_steps" not in config.model_fields_set:
        return
    what = (
        "the learning rate would never drop, so shorter steps are taken (see the manual)"
        if config.decay_rate is None
        else "the learning rate never drops"
    )
    log.warning(
        "learning_rate.decay_steps is %d, but the decay has %d steps only: %s",
        config.decay_steps,
        total,
        what,
    )


def _cosine(config: LearningRateCosine, num_steps: int, total: int) -> _Decay:
    start, stop = config.start_lr, config.end

    def decay(t: np.ndarray) -> np.ndarray:
        if total == 0:
            return np.full_like(t, start)
        low = stop / start
        fall = start * (low + 0.5 * (1 - low) * (1 + np.cos(np.pi * (t / total))))
        return np.where(t >= total, stop, fall)

    return decay


def _stable_then_decay(config: LearningRateWSD, num_steps: int, total: int) -> _Decay:
    start, stop = config.start_lr, config.end
    length = max(1, min(int(config.decay_phase_ratio * num_steps), total))
    falls: dict[str, _Decay] = {
        "inverse_linear": lambda tau: 1 / (tau / stop + (1 - tau) / start),
        "cosine": lambda tau: stop + (start - stop) * 0.5 * (1 + np.cos(np.pi * tau)),
        "linear": lambda tau: start + (stop - start) * tau,
    }
    fall = falls[config.decay_type]

    def decay(t: np.ndarray) -> np.ndarray:
        tau = np.clip((t - (total - length)) / length, 0.0, 1.0)
        return np.where(t < total - length, start, np.where(t >= total, stop, fall(tau)))

    return decay
