# SPDX-License-Identifier: BSD-3-Clause
"""The section ``model`` of type ``pairwise_dprc``."""

from __future__ import annotations

from typing import Any

import fragmented
import pytest

from deepmd_tf.config import Config
from deepmd_tf.errors import InputError


def changed(path: str, value: Any) -> dict[str, Any]:
    script = fragmented.script()
    section = script["model"]
    *keys, last = path.split("/")
    for key in keys:
        section = section[key]
    section.pop(last, None)
    if value is not None:
        section[last] = value
    return script


def test_members():
    model = Config.from_dict(fragmented.script()).model
    assert [member.scope for member in model.members()] == ["_qm", "_qmmm"]
    assert [part.path for part in model.parts()] == [
        "qm_model.descriptor.",
        "qmmm_model.descriptor.",
    ]
    assert (model.ntypes, model.numb_aparam, model.fragmented) == (4, 1, True)
    assert [item.name for item in model.data_items] == ["aparam"]
    assert model.with_sel({"_qm": [5], "_qmmm": [7]}).parts()[1].config.counts == (7,)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("type_map", None, "type_map"),
        ("type_embedding", None, "model.type_embedding: missing"),
        ("qm_model", None, "model.qm_model: missing"),
        ("qmmm_model/type_map", ["C"], "qmmm_model/type_map: belongs in model, once for both"),
        ("qm_model/type_embedding", {}, "qm_model/type_embedding: belongs in model, once for both"),
        ("qm_model/descriptor/sel", "auto", 'descriptor.sel: "auto" cannot be found'),
        ("qm_model/use_srtab", "zbl.tab", "use_srtab"),
        ("use_srtab", "zbl.tab", "cannot be used with pairwise_dprc"),
        (
            "qm_model/descriptor",
            {"type": "se_e2_a", "sel": [1, 2, 3, 4]},
            "has neighbours of each type by themselves",
        ),
        ("qm_model/fitting_net/numb_aparam", 1, "numb_fparam, numb_aparam"),
        ("models", [], "models"),
    ],
)
def test_refused(path, value, said):
    with pytest.raises(InputError) as error:
        Config.from_dict(changed(path, value))
    assert said in str(error.value)
