# SPDX-License-Identifier: BSD-3-Clause
"""Statistics of the training data that a model is built with: averages and biases."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from deepmd_tf import names
from deepmd_tf.config import Config, FittingEner, FittingPolar, ModelConfig, ReadModel
from deepmd_tf.config.model import NetMember
from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.data.identity import fingerprint, geometry
from deepmd_tf.descriptors import environments_of_member
from deepmd_tf.environment import EnvironmentSpec
from deepmd_tf.fields import ATOM_ENER_COEFF, ENERGY, Field
from deepmd_tf.model.atomic import Averages, Statistics
from deepmd_tf.model.spin import bias_of_real_atoms
from deepmd_tf.model.stat_file import StatFile, descriptor_group
from deepmd_tf.model.statistics import (
    energy_bias,
    energy_spread,
    environment_scale,
    environment_sums,
    parameter_scale,
    parameter_sums,
)
from deepmd_tf.model.tensor_statistics import polar_shift
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.progress import track
from deepmd_tf.training.faults import NamedFaults
from deepmd_tf.training.statistics_cache import StatisticsCache

log = logging.getLogger(__name__)


def statistics_items(model: ModelConfig) -> tuple[Field, ...]:
    """Data items that the statistics of a model are about, whatever the loss is."""
    if isinstance(model.fitting_net, FittingPolar):
        return model.tensor_items
    return (ENERGY,) if isinstance(model.fitting_net, FittingEner) else ()


def measure_statistics(
    config: Config,
    data: DataSystems,
    type_map: Sequence[str] | None,
    cache: StatisticsCache | None = None,
) -> Statistics | dict[str, Statistics]:
    """Averages of environment rows, and energy bias, from some batches of each system; of several
    models those of each that is not read from a file, by its scope.

    They are taken from ``training/stat_file`` (``cache``) instead, as far as it has them.
    """
    log.info("data stating... (this step may take long time)")
    if isinstance(config.model, ModelConfig):
        return _of_member(config.model.nets[0], data, type_map, cache)
    return {
        member.scope: _of_member(
            member, data, type_map, cache and cache.below(member.scope.lstrip("_"))
        )
        for member in config.model.nets
        if not isinstance(member.config, ReadModel)
    }


def _of_member(
    member: NetMember,
    data: DataSystems,
    type_map: Sequence[str] | None,
    cache: StatisticsCache | None,
) -> Statistics:
    model = member.config
    batches = [b for system in data.stat_batches(model.data_stat_nbatch) for b in system]
    specs = environments_of_member(member, data.ntypes)
    scales = {
        spec.scope: _row_scale(model, data, batches, cache, spec, spec.scope != member.scope)
        for spec in specs
        if not spec.masked  # whose rows are not normalised
    }
    avg: Averages
    std: Averages
    if len(scales) == 1:
        ((avg, std),) = scales.values()
    else:
        avg, std = ({scope: scale[k] for scope, scale in scales.items()} for k in (0, 1))

    parameters = _parameter_statistics(model, data, batches, cache)
    fitting, bias = model.fitting_net, np.zeros(data.ntypes)
    if isinstance(fitting, FittingEner):
        bias = bias_of_real_atoms(_energy_bias(model, data, batches, type_map, cache), model.spin)
    if isinstance(fitting, FittingPolar):
        embedded = model.embedding_of_types is not None
        parameters[names.POLAR_SHIFT] = polar_shift(batches, data.ntypes, fitting, embedded)
    return Statistics(avg=avg, std=std, bias=bias, parameters=parameters)


def _cached(
    cache: StatisticsCache | None,
    what: str,
    key: Callable[[], str],
    load: Callable[[StatFile], np.ndarray | None],
    save: Callable[[StatFile, np.ndarray], None],
    measure: Callable[[], np.ndarray],
) -> np.ndarray:
    """Statistics from the cache; what it does not have is measured and saved."""
    if cache is None:
        return measure()
    depends, read = key(), functools.partial(load, cache.file)
    found = cache.arrays(what, depends, read)
    if found is None:
        found = measure()
        save(cache.file, found)
        cache.sign(what, depends, read)
    return found


def _energy_bias(
    model: ModelConfig,
    data: DataSystems,
    batches: Sequence[Batch],
    type_map: Sequence[str] | None,
    cache: StatisticsCache | None,
) -> np.ndarray:
    """Energy bias of each type, eV [ntypes]; one without a finite residual is not saved."""
    fitting = cast(FittingEner, model.fitting_net)

    def measure() -> tuple[np.ndarray, float]:
        bias, rmse = energy_bias(
            batches, ntypes=data.ntypes, rcond=fitting.rcond, atom_ener=fitting.atom_ener
        )
        log.info(
            "RMSE of energy per atom after linear regression is: %s in the unit of energy.", rmse
        )
        return bias, rmse

    if cache is None:
        return measure()[0]
    labels = (ENERGY.name, ATOM_ENER_COEFF.name)
    key = _sampled(model, data, fitting.rcond, list(fitting.atom_ener), items=labels)
    load = functools.partial(cache.file.load_bias, data.ntypes)
    known = cache.arrays("energy bias", key, load)
    if known is not None:
        return known
    bias, rmse = measure()
    if math.isfinite(rmse):
        counts = np.sum([batch.counts.sum(axis=0) for batch in batches], axis=0)
        found = np.flatnonzero(counts)
        observed = [type_map[int(t)] for t in found if t < len(type_map)] if type_map else []
        cache.file.save_bias(bias, energy_spread(batches, bias), observed)
        cache.sign("energy bias", key, load)
    return bias


def _row_scale(
    model: ModelConfig,
    data: DataSystems,
    batches: Sequence[Batch],
    cache: StatisticsCache | None,
    spec: EnvironmentSpec,
    listed: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the rows of an environment, [ntypes, components]; ``listed``
    says that its descriptor is one of a list.
    """
    rcut, rcut_smth = spec.cutoff.given
    sel = list(spec.selection.counts)
    member = spec.exclude_types if listed else None
    group = descriptor_group(sel, rcut, rcut_smth, spec.components, member)

    def key() -> str:
        sampled = _sampled(model, data, rcut, rcut_smth, sel)
        return fingerprint(sampled, [list(pair) for pair in spec.exclude_types])

    def measure() -> np.ndarray:
        with NamedFaults(data) as faults:
            watched = faults.watch(track(batches, "data statistics", len(batches)))
            return environment_sums(watched, spec)

    sums = _cached(
        cache,
        f"environment {group}",
        key,
        lambda file: file.load_sums(group, data.ntypes, spec.components),
        lambda file, found: file.save_sums(group, found),
        measure,
    )
    avg, std = environment_scale(sums, rcut)
    if spec.zero_mean:
        avg[:] = 0.0
    return avg, std


def _sampled(
    model: ModelConfig, data: DataSystems, *settings: Any, items: Sequence[str] = ()
) -> str:
    """Cache key of statistics of some batches: settings, data, and how batches are drawn."""
    systems = [
        (geometry(system), [system.digests.get(item) for item in items], size)
        for system, size in zip(data.systems, data.batch_sizes, strict=True)
    ]
    precision = interface_dtype().name
    return fingerprint(settings, model.data_stat_nbatch, data.ntypes, systems, precision)


def _parameter_statistics(
    model: ModelConfig, data: DataSystems, batches: Sequence[Batch], cache: StatisticsCache | None
) -> dict[str, np.ndarray]:
    """Mean and inverse standard deviation of frame and atomic parameters, by node name."""
    fitting = model.fitting_net
    found: dict[str, np.ndarray] = {}
    for key, dim, nodes in (
        ("fparam", fitting.numb_fparam, (names.FPARAM_AVG, names.FPARAM_ISTD)),
        ("aparam", fitting.net_aparam, (names.APARAM_AVG, names.APARAM_ISTD)),
    ):
        if not dim:
            continue
        sums = _cached(
            cache,
            key,
            functools.partial(_sampled, model, data, dim, items=(key,)),
            functools.partial(StatFile.load_parameter_sums, key=key, dim=dim),
            functools.partial(_save_parameter_sums, key),
            functools.partial(parameter_sums, batches, key, dim),
        )
        scale = parameter_scale(sums, model.data_stat_protect)
        found |= dict(zip(nodes, scale, strict=True))
    return found


def _save_parameter_sums(key: str, file: StatFile, sums: np.ndarray) -> None:
    file.save_parameter_sums(key, sums)
