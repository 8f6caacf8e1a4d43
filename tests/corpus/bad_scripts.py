# SPDX-License-Identifier: BSD-3-Clause
"""Input scripts that are wrong."""

from __future__ import annotations

import os
from typing import Any

from .changes import DRY_RUN, FREE, TRAIN, Case, Change, all_of, edit, nothing, remove, script, text

RADIAL = {"type": "se_e2_r", "sel": [12, 20], "rcut": 3.0, "neuron": [4]}


def hybrid(keys: dict[str, Any]) -> Change:
    """A list of two descriptors; the second has these keys."""
    return script(model__descriptor={"type": "hybrid", "list": [RADIAL, RADIAL | keys]})


FILES = [
    Case("no such file", remove("input.json"), ("input.json: cannot be read (No such file",)),
    Case("empty file", text("input.json", ""), ("line 1, column 1", "the file is empty")),
    Case(
        "comma at the end",
        text("input.json", '{"model": {},}'),
        (
            "line 1, column 14",
            "a comma must stand between two entries",
            "input.json: line …, column …: not valid JSON: …",
        ),
    ),
    Case("comment", text("input.json", "{ // x\n}"), ("line 1", "JSON has no comments")),
    Case("not text", text("input.json", b"\xff\xfe\x00"), ("is not a text file in UTF-8",)),
    Case("a list", text("input.json", "[]"), ("expected a block of keys", "model, learning_rate")),
    Case("a folder", all_of(remove("input.json"), lambda: os.mkdir("input.json")), ("not a file",)),
    Case(
        "another suffix", nothing, ("type.raw: an input script is a",), ("train", FREE / "type.raw")
    ),
    Case(
        "endless blocks",
        text("input.json", '{"a":' * 10**5),
        ("blocks are inside blocks without end; no input script needs that",),
    ),
    Case(
        "aliases of aliases",
        text(
            "input.yaml",
            "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
        ),
        ("input.yaml: has more than 1000000 values",),
        ("train", "input.yaml"),
    ),
    Case(
        "code in YAML",
        text("input.yaml", "model: !!python/object/apply:os.system ['true']"),
        ("line 1", "could not determine a constructor"),
        ("train", "input.yaml"),
    ),
    Case(
        "a tab in YAML",
        text("input.yaml", "model:\n\ttype: standard"),
        ("line 2, column 1: not valid YAML", "'\\t'"),
        ("train", "input.yaml"),
    ),
]

TABLE = {
    "model__use_srtab": "zbl.tab",
    "model__smin_alpha": 0.1,
    "model__sw_rmin": 1.0,
    "model__sw_rmax": 2.0,
}

KEYS = [
    Case(
        "a key twice",
        edit("input.json", '"rcut": 3.4', '"rcut": 3.4, "rcut": 6.0'),
        (
            "model.descriptor.rcut: given more than once (3.4, then 6.0); keep one",
            "…: given more than once (…, then …); keep one",
        ),
    ),
    Case(
        "a misspelt key",
        script(model__descriptor__rcut_smoth=0.4),
        (
            "model.descriptor.rcut_smoth: unknown key",
            'did you mean "rcut_smth"?',
            '…: unknown key; did you mean "…"?',
        ),
    ),
    Case(
        "a key in the wrong block",
        script(model__rcut=6.0),
        (
            "model.rcut: unknown key; it belongs in model.descriptor",
            "…: unknown key; it belongs in …",
        ),
    ),
    Case(
        "a key of another kind of the block",
        script(
            learning_rate={"type": "cosine", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 9}
        ),
        (
            'learning_rate.decay_steps: unknown key; it belongs to type "exp", and this is '
            '"cosine"; remove the key, or choose that type',
            "…: unknown key; it belongs to type …, and this is …",
        ),
    ),
    Case(
        "nothing to train",
        script(model__descriptor__trainable=False, model__fitting_net__trainable=False),
        (
            "model.descriptor.trainable and model.fitting_net.trainable are false",
            "nothing is left to train; set one of them to true",
        ),
    ),
    Case(
        "a missing block",
        script(learning_rate=...),
        (
            "learning_rate: missing; expected a block of keys",
            "…: missing; expected …",
        ),
    ),
    Case(
        "an unknown kind",
        script(model__descriptor__type="se_a3"),
        ('model.descriptor.type: read "se_a3"; available: "se_e2_a"',),
    ),
    Case(
        "a kind of other programs",
        script(model__descriptor__type="dpa2"),
        (
            '"dpa2" is part of other backends of DeePMD-kit only',
            "… is part of other backends of DeePMD-kit only",
        ),
    ),
    Case(
        "a table of pairs without its switch",
        script(model__use_srtab="zbl.tab"),
        (
            "model.smin_alpha: ",
            "is missing; use_srtab needs smin_alpha, sw_rmin and sw_rmax, in Å",
            "model.sw_rmin: ",
            "model.sw_rmax: ",
        ),
    ),
    Case(
        "a switch that is none",
        script(**TABLE | {"model__sw_rmin": 1.0, "model__sw_rmax": 1.0}),
        ("model.sw_rmax: read 1.0; must be larger than sw_rmin (1 Å)",),
    ),
    Case(
        "no such table of pairs",
        script(**TABLE),
        ("zbl.tab: there is no such file; model.use_srtab is the name of a table of pair",),
    ),
    Case(
        "a table of other types",
        all_of(script(**TABLE), text("zbl.tab", "# types: H O\n0.5 1 1 1\n1.0 0 0 0\n")),
        ("zbl.tab: is a table of the types H O in this order, but model.type_map is O H",),
    ),
    Case(
        "a table that begins too late",
        all_of(script(**TABLE), text("zbl.tab", "1.5 1 1 1\n2.0 0 0 0\n")),
        (
            "zbl.tab: the table of pair potentials begins at 1.5 Å, but there are atoms",
            "apart in the training data; let the table begin below any distance that can occur",
        ),
        leaves=("input_v2_compat.json",),
    ),
    Case(
        "a word in a table",
        all_of(script(**TABLE), text("zbl.tab", "# r O-O O-H H-H\n0.5 1 1 one\n1.0 0 0 0\n")),
        ('zbl.tab, line 2, column 4: "one" is not a number',),
    ),
    Case(
        "a feature that is not there",
        script(model__modifier={}),
        (
            "model.modifier: read {}; a data modifier",
            "… is not available yet in this version; remove it",
        ),
    ),
    Case(
        "electrons of no element",
        script(model__type_embedding={"use_econf_tebd": True}, model__type_map=["O", "HW"]),
        (
            "model.type_embedding: use_econf_tebd takes the electrons of the elements from "
            "type_map, which has HW",
            "expected symbols of elements such as H and He",
        ),
    ),
    Case(
        "the width of no vector",
        script(model__type_embedding={"neuron": []}),
        ("model.type_embedding.neuron: read []", "expected a non-empty list"),
    ),
    Case(
        "text for a number",
        script(model__descriptor__rcut="3.4"),
        (
            'model.descriptor.rcut: read "3.4"; expected a number > 0',
            "…: read …; expected …",
        ),
    ),
    Case(
        "not a number",
        script(loss__start_pref_e=float("nan")),
        ("loss.start_pref_e: read NaN; expected a number ≥ 0",),
    ),
    Case(
        "infinity",
        script(learning_rate__start_lr=float("inf")),
        ("learning_rate.start_lr: read Infinity; expected a number > 0 and ≤ 1e+30",),
    ),
    Case(
        "a number beyond all bounds",
        script(model__descriptor__rcut=1e300),
        ("model.descriptor.rcut: read 1e+300; expected a number > 0 and ≤ 1000",),
    ),
    Case(
        "a misspelt word",
        script(model__descriptor__activation_function="tahn"),
        ('read "tahn"; expected one of none, linear', 'did you mean "tanh"?'),
    ),
    Case(
        "one net for types without names",
        script(model__descriptor__type="se_atten", model__type_map=None),
        ("model.descriptor: se_atten makes one net for all types, and needs their names",),
    ),
    Case(
        "a mask without its parameter",
        script(
            model__descriptor={"type": "se_a_mask", "sel": [2, 4]},
            model__type_map=["O", "H"],
        ),
        ("model.fitting_net: the descriptor se_a_mask takes the mask", "needs numb_aparam 1"),
    ),
    Case(
        "atoms that a mask does not know",
        script(
            model__descriptor={"type": "se_a_mask", "sel": [1, 5]},
            model__fitting_net={"numb_aparam": 1, "use_aparam_as_mask": True},
            model__type_map=["O", "H"],
        ),
        ("aparam.npy",),
    ),
    Case(
        "a scale of the attention",
        script(model__descriptor__type="se_atten", model__descriptor__scaling_factor=2.0),
        ("model.descriptor.scaling_factor: … a scale of the attention works with other backends",),
    ),
    Case(
        "no neighbours of all types",
        script(model__descriptor__type="se_atten_v2", model__descriptor__sel=0),
        ("model.descriptor.sel: read 0; 0 neighbours; expected 1 to 100000",),
    ),
    Case(
        "a list of another length",
        script(model__descriptor__sel=[12]),
        ("model.descriptor.sel: read [12]; has length 1, but there are 2 types",),
    ),
    Case(
        "the cutoff within the switch",
        script(model__descriptor__rcut_smth=3.4),
        ("model.descriptor.rcut_smth: read 3.4; must be smaller than rcut (3.4 Å)",),
    ),
    Case(
        "a learning rate that grows",
        script(learning_rate__stop_lr=0.1),
        ("learning_rate.stop_lr: read 0.1; 0.1 is larger than start_lr (0.005)",),
    ),
    Case(
        "two lengths",
        script(training__numb_epoch=3),
        ("training.numb_epoch: read 3; numb_steps is given too; give only one of them",),
    ),
    Case(
        "nothing to fit",
        script(loss={f"{a}_pref_{b}": 0 for a in ("start", "limit") for b in "efv"}),
        ("loss: every weight is zero, so there is nothing to fit",),
    ),
    Case(
        "an element twice",
        script(model__type_map=["O", "O"]),
        ('model.type_map: read ["O", "O"]; O stands there more than once',),
    ),
    Case(
        "validation of all data without data",
        script(training__validation_data=None, validating={"full_validation": True}),
        ("validating", "full_validation needs training.validation_data"),
    ),
    Case(
        "five mistakes",
        all_of(
            script(model__descriptor__rcut=-1, model__fitting_net__neuron=[0], loss__typ="ener"),
            script(learning_rate__start_lr="fast", training__save_freq=1.5),
        ),
        (
            "input.json: 5 mistakes",
            "learning_rate.start_lr: read",
            'loss.typ: unknown key; did you mean "type"?',
            "model.descriptor.rcut: read -1",
            "model.fitting_net.neuron[0]: read 0; expected an integer ≥ 1",
            "training.save_freq: read 1.5; expected an integer ≥ 0",
            "input.json: … mistakes",
        ),
    ),
    Case(
        "batch sizes of other systems",
        script(training__training_data__batch_size=[1, 2, 3]),
        ("training.training_data.batch_size: the list has 3 entries", "each of the 2 systems"),
    ),
    Case(
        "probabilities of other systems",
        script(training__training_data__sys_probs=[0.5, 0.25, 0.25]),
        ("training.training_data.sys_probs: has 3 entries", "each of the 2 systems"),
    ),
    Case(
        "a block of systems that are not there",
        script(training__training_data__auto_prob="prob_sys_size;0:5:1.0"),
        ("training.training_data.auto_prob: the block 0:5 ends beyond the last of the 2 systems",),
    ),
]

MORE_KEYS = [
    Case(
        "mistakes in a dry run",
        script(model__descriptor__rcut=0),
        ("model.descriptor.rcut: read 0; expected a number > 0",),
        DRY_RUN,
    ),
    Case(
        "a number for true or false",
        script(model__descriptor__resnet_dt=1),
        ("model.descriptor.resnet_dt: read 1; expected true or false",),
    ),
    Case(
        "a number for a list",
        script(model__fitting_net__neuron=240),
        ("model.fitting_net.neuron: read 240; expected a list, each entry an integer",),
    ),
    Case(
        "no steps",
        script(training__numb_steps=...),
        ("training", "numb_steps"),
    ),
    Case(
        "a word that is no batch size",
        script(training__training_data__batch_size="automatic"),
        ('training.training_data.batch_size: read "automatic"',),
    ),
    Case(
        "a frame that is compared with itself",
        script(loss={"start_pref_de": 1.0}, training__training_data__batch_size=1),
        ("loss: start_pref_de or limit_pref_de is not 0, which compares frames of a batch",),
    ),
    Case(
        "pairs of types that are not there",
        script(model__descriptor__exclude_types=[[0, 2]]),
        ("model.descriptor.exclude_types: ", "the pair [0, 2] names a type beyond the last"),
    ),
    Case(
        "pairs of types left out of a descriptor that cannot",
        script(
            model__descriptor={"type": "se_e3", "sel": [4, 8], "rcut": 3, "exclude_types": [[0, 1]]}
        ),
        ("model.descriptor.exclude_types: ", "must be []: se_e3 cannot leave pairs of types out"),
    ),
    Case(
        "a precision that is none",
        script(model__descriptor__precision="float46"),
        ('model.descriptor.precision: read "float46"; expected one of', 'did you mean "float64"?'),
    ),
    Case(
        "a metric without its label",
        script(validating={"full_validation": True, "validation_metric": "X:MAE"}),
        ("validating.validation_metric: ",),
    ),
]

OUTPUTS = [
    Case(
        "a file in the way of a folder",
        all_of(text("a_file", ""), script(training__disp_file="a_file/lcurve.out")),
        (
            "training.disp_file: a_file/lcurve.out cannot be written (is a file, not a directory",
            "…: … cannot be written (…)",
        ),
    ),
    Case(
        "a folder in the way of a file",
        script(training__disp_file="data"),
        ("training.disp_file: data is a directory; give the name of a file",),
    ),
    Case(
        "the input script in the way",
        script(training__disp_file="input.json"),
        ("training.disp_file: the learning curve would replace the input script",),
    ),
    Case(
        "checkpoints without a name",
        script(training__save_ckpt="."),
        ("training.save_ckpt: . is a folder; give a name for the checkpoints",),
    ),
    Case(
        "TensorBoard in a file",
        all_of(
            text("log", ""),
            script(training__tensorboard=True, training__profiling=True),
            script(training__profiling_file="no/timeline.json"),
        ),
        (
            "input.json: 2 mistakes",
            "training.profiling_file: no/timeline.json cannot be written (there is no directory no",
            "training.tensorboard_log_dir: log is a file; give the name of a folder",
        ),
    ),
    Case(
        "no folder for the output",
        nothing,
        ("--output: no/out.json cannot be written (there is no directory no)",),
        (*TRAIN, "-o", "no/out.json"),
    ),
    Case(
        "an old descriptor",
        script(model__descriptor__type="loc_frame"),
        ('model.descriptor.type: "loc_frame" is an old descriptor of DeePMD-kit',),
    ),
    Case(
        "a name that is none",
        script(model__type_map=["O", False]),
        ("model.type_map[1]: read false; expected a name in quotes",),
    ),
    Case(
        "a warm-up as long as the training",
        script(learning_rate__warmup_steps=4),
        ("learning_rate.warmup_steps: read 4; must be smaller than training.numb_steps (4)",),
    ),
    Case(
        "a key that is a number",
        text("input.yaml", "loss:\n  3: 1\n"),
        ("loss.3: a key must be text in quotes",),
        ("train", "input.yaml"),
    ),
    Case(
        "a mistake in a member of a hybrid",
        hybrid({"neuron": [4, 0]}),
        ("model.descriptor.list[1].neuron[1]: read 0; expected an integer ≥ 1",),
    ),
    Case(
        "a key of a hybrid",
        script(model__descriptor={"type": "hybrid", "sel": [4, 4], "list": [RADIAL]}),
        ("model.descriptor.sel: unknown key; it belongs in the entries of model.descriptor.list",),
    ),
    Case(
        "a key of another kind in a member",
        hybrid({"axis_neuron": 2}),
        ('model.descriptor.list[1].axis_neuron: unknown key; it belongs to type "se_e2_a"',),
    ),
    Case(
        "a hybrid without members",
        script(model__descriptor={"type": "hybrid", "list": []}),
        ("model.descriptor.list: read []; expected a non-empty list",),
    ),
    Case(
        "a hybrid in a hybrid",
        hybrid({"type": "hybrid"}),
        ('list[1].type: "hybrid" is a list of descriptors', "put its members into this list"),
    ),
    Case(
        "sel of a member for other types",
        hybrid({"sel": [4]}),
        ("model.descriptor.list[1].sel: read [4]; has length 1, but there are 2 types",),
    ),
    Case(
        "members without neighbours",
        hybrid({"sel": "auto", "rcut": 0.1, "rcut_smth": 0.0}),
        ('model.descriptor.list[1].sel is "auto", but no two atoms', "closer than rcut, 0.1 Å"),
        leaves=("input_v2_compat.json",),
    ),
]
