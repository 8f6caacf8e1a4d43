# SPDX-License-Identifier: BSD-3-Clause
"""Graphs as DeePMD-kit 0.12 to 2.0 would have written them, made from present ones."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from deepmd_tf import names

AGES = ("0.12", "1.0", "1.2", "1.3", "2.0")

_NODES = {
    "0.12": {
        "descrpt_attr/rcut": "t_rcut",
        "descrpt_attr/ntypes": "t_ntypes",
        "o_energy": "energy_test",
        "o_force": "force_test",
        "o_virial": "virial_test",
        "o_atom_energy": "atom_energy_test",
        "o_atom_virial": "atom_virial_test",
    }
}
_OPS = {
    "0.12": {
        "ProdEnvMatA": "DescrptNorot",
        "ProdForceSeA": "ProdForceNorot",
        "ProdVirialSeA": "ProdVirialNorot",
    },
    "2.0": {
        "TabulateFusionSeA": "TabulateFusion",
        "TabulateFusionSeAGrad": "TabulateFusionGrad",
    },
}
_MISSING = {
    "0.12": (names.DFPARAM, names.MODEL_TYPE, names.TYPE_MAP),
    "1.0": (names.DAPARAM,),
    "1.3": (names.MODEL_VERSION, names.TRAINING_SCRIPT, names.MIN_NBOR_DIST, names.MODEL_KIND),
}


def age(graph: tf.GraphDef, version: str) -> tf.GraphDef:
    """What ``version`` would have written in place of a present graph in the stock dialect."""
    later = AGES[AGES.index(version) :]
    gone = {name for v in later for name in _MISSING.get(v, ())}
    result = tf.GraphDef(versions=graph.versions)
    for node in graph.node:
        if node.name in gone:
            continue
        node = result.node.add(**{field.name: value for field, value in node.ListFields()})
        for v in later:
            node.op = _OPS.get(v, {}).get(node.op, node.op)
            node.name = _NODES.get(v, {}).get(node.name, node.name)
            for i, text in enumerate(node.input):
                node.input[i] = _NODES.get(v, {}).get(text, text)
        if version in ("0.12", "1.0", "1.2", "1.3") and node.op == "ProdEnvMatA":
            node.op = "DescrptSeA"
        if node.op.startswith(("Descrpt", "Prod")):
            # present graphs may leave it out, too, as it is the default
            node.attr["T"].type = tf.float64.as_datatype_enum
            if version in ("0.12", "1.0", "1.2"):
                del node.attr["T"]
        if node.name == names.MODEL_VERSION:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("1.0"))
    return result
