# SPDX-License-Identifier: BSD-3-Clause
"""Models, checkpoints, trainings and commands that are wrong."""

from __future__ import annotations

from pathlib import Path

from .changes import (
    TEST,
    TRAIN,
    Case,
    all_of,
    array,
    cut,
    nothing,
    program_as_model,
    put,
    remove,
    script,
    text,
)

MODELS = [
    Case(
        "no such model",
        nothing,
        (
            "no.pb",
            "there is no such model file, checkpoint folder or checkpoint",
        ),
        ("test", "-m", "no.pb", "-s", "data/valid/cell"),
    ),
    Case(
        "a model that was cut off",
        cut("frozen.pb"),
        ("frozen.pb: ",),
        TEST,
    ),
    Case(
        "an empty model",
        text("frozen.pb", ""),
        ("frozen.pb: not a model: the file holds no graph",),
        TEST,
    ),
    Case(
        "text as a model",
        text("frozen.pb", "hello\n" * 100),
        ("truncated, or not a TensorFlow graph; freeze or copy the model again",),
        TEST,
    ),
    Case(
        "no data to test",
        nothing,
        ("systems: none is not a directory",),
        ("test", "-m", "frozen.pb", "-s", "none"),
    ),
    Case(
        "data of other elements",
        text("data/valid/cell/type_map.raw", "O\nXe"),
        ("data/valid/cell", "['Xe']", "type map ['O', 'H']"),
        TEST,
    ),
    Case(
        "a list of systems that is not there",
        nothing,
        ("none.txt: cannot be read (No such file",),
        ("test", "-m", "frozen.pb", "-f", "none.txt"),
    ),
    Case("nothing to freeze", nothing, ("none",), ("freeze", "-c", "none", "-o", "new.pb")),
    Case(
        "a checkpoint without values",
        all_of(remove("model.ckpt-1.index"), remove("model.ckpt-2.data-00000-of-00001")),
        ("model.ckpt-2",),
        ("freeze", "-c", ".", "-o", "new.pb"),
    ),
    Case(
        "compressing a compressed model",
        nothing,
        (
            "compressed.pb",
            "this is a compressed model, …, so that it can only be evaluated",
        ),
        ("compress", "-i", "compressed.pb", "-o", "new.pb"),
    ),
    Case(
        "compressing what was cut off",
        cut("frozen.pb"),
        ("frozen.pb",),
        ("compress", "-i", "frozen.pb", "-o", "new.pb"),
    ),
    Case(
        "no such checkpoint",
        nothing,
        (
            "none: no checkpoint with this prefix",
            "model.ckpt-2",
            "…: no checkpoint with this prefix (…); checkpoints there: …",
        ),
        (*TRAIN, "--restart", "none"),
    ),
    Case(
        "a checkpoint that was cut off",
        all_of(remove("model.ckpt-1.index"), cut("model.ckpt-2.data-00000-of-00001")),
        (
            "checkpoint model.ckpt-2 is damaged",
            "bytes",
            "there is no older one that is whole; copy one again, or begin anew",
        ),
        (*TRAIN, "--restart", "model.ckpt"),
    ),
    Case(
        "a damaged index",
        all_of(remove("model.ckpt-1.index"), cut("model.ckpt-2.index")),
        ("model.ckpt-2",),
        (*TRAIN, "--restart", "model.ckpt"),
    ),
    Case(
        "a damaged state",
        all_of(remove("model.ckpt-1.index"), cut("model.ckpt-2.state.json")),
        ("model.ckpt-2.state.json",),
        (*TRAIN, "--restart", "model.ckpt"),
    ),
    Case(
        "another model than that of the checkpoint",
        script(
            model__type_map=["H", "O"], model__descriptor__rcut=3.0, model__fitting_net__neuron=[5]
        ),
        (
            "is a checkpoint of another model than that of the input script",
            "type_map",
            "rcut",
            "neuron",
        ),
        (*TRAIN, "--restart", "model.ckpt"),
    ),
    Case(
        "a checkpoint as a frozen model",
        nothing,
        (
            "model.ckpt",
            "--init-model",
            "… is a checkpoint, not a frozen model; give it with --init-model",
        ),
        (*TRAIN, "--init-frz-model", "model.ckpt"),
    ),
    Case(
        "an unknown command",
        nothing,
        (
            'unknown command "trian"',
            'did you mean "train"?',
            'unknown command "…"; did you mean "…"?',
        ),
        ("trian",),
        2,
    ),
    Case(
        "an unknown option",
        nothing,
        (
            'unknown option "--restrat"',
            'did you mean "--restart"?',
            'unknown option "…"; did you mean "…"?',
        ),
        (*TRAIN, "--restrat"),
        2,
    ),
    Case("no input", nothing, ("INPUT",), ("train",), 2),
]

MORE_MODELS = [
    Case(
        "a model that is a program",
        program_as_model,
        ("spy.pb", "ReadFile", "an operation that is not part of a known kind of model"),
        ("test", "-m", "spy.pb", "-s", "data/valid/cell"),
    ),
    Case(
        "a model of another backend",
        text("model.pth", "hello"),
        ("model.pth: is a model of another backend", "dp convert-backend of DeePMD-kit"),
        ("test", "-m", "model.pth", "-s", "data/valid/cell"),
    ),
    Case(
        "a folder as a model", nothing, ("data",), ("test", "-m", "data", "-s", "data/valid/cell")
    ),
    Case(
        "showing what is no model", text("a.pb", "hello"), ("a.pb",), ("show", "a.pb", "type-map")
    ),
    Case(
        "freezing into a folder that is not there",
        nothing,
        ("no/new.pb",),
        ("freeze", "-c", ".", "-o", "no/new.pb"),
    ),
    Case(
        "compressing a native file for others",
        nothing,
        ("no/new.pb",),
        ("compress", "-i", "native.pb", "-o", "no/new.pb"),
    ),
    Case("no learning curve", nothing, ("none.out",), ("plot", "none.out", "-o", "new.png")),
    Case(
        "text as a learning curve",
        text("text.out", "hello\nworld\n"),
        ("text.out",),
        ("plot", "text.out", "-o", "new.png"),
    ),
    Case(
        "fine-tuning to other elements",
        script(model__type_map=["O", "H", "Xe"]),
        ("input.json: model/type_map has ['Xe'], which frozen.pb does not know",),
        (*TRAIN, "--finetune", "frozen.pb"),
    ),
    Case(
        "a structure that is not there",
        nothing,
        ("none.xyz",),
        ("vibrations", "-m", "frozen.pb", "-s", "none.xyz"),
    ),
]

TRAINING = [
    Case(
        "forces whose squares are no numbers",
        lambda: [array(path, put((0, 0), 1e200))() for path in Path("data").rglob("force.npy")],
        (
            "step …: …the loss is not a finite number (…)",
            "in data/… (counted from 0)",
            "No checkpoint was written of it (there is none yet)",
            "the batch is in model.ckpt-bad-batch-",
            "lower learning_rate/start_lr",
            "the loss is not a finite number (…)",
        ),
        leaves=("lcurve.out", "out.json", "input_v2_compat.json", "model.ckpt-bad-batch-*"),
    ),
    Case(
        "an older checkpoint for a damaged one",
        all_of(cut("model.ckpt-2.index"), script(training__numb_steps=1)),
        ("… is damaged: …; … is used instead",),
        (*TRAIN, "--restart", "model.ckpt"),
        0,
        # which is the latest from now on
        leaves=("model.ckpt.*", "checkpoint"),
    ),
    Case(
        "nothing is left to do",
        script(training__numb_steps=2),
        (
            "nothing is left to do: … is of step 2, and the training has 2 steps",
            "nothing is left to do: … is of step …, and the training has … steps",
        ),
        (*TRAIN, "--restart", "model.ckpt"),
        0,
    ),
    Case(
        "time that is over before the first step",
        nothing,
        ("the time limit was reached before the first step of this run; nothing was trained",),
        (*TRAIN, "--max-time", "1s"),
        leaves=("lcurve.out", "out.json", "input_v2_compat.json"),
    ),
    Case(
        "a time that is none",
        nothing,
        ('"soon" is no time; expected seconds, a number with s, m, h or d',),
        (*TRAIN, "--max-time", "soon"),
        2,
    ),
    Case(
        "two ways to begin",
        nothing,
        ("not allowed with argument",),
        (*TRAIN, "--restart", "model.ckpt", "--init-model", "model.ckpt"),
        2,
    ),
    Case(
        "a command of another backend",
        nothing,
        ("pt: this package is TensorFlow only",),
        ("--pt", *TRAIN),
        2,
    ),
    Case(
        "a compressed model in place of the model",
        nothing,
        ("frozen.pb: is the model itself, and the compressed one has no weights",),
        ("compress", "-i", "frozen.pb", "-o", "frozen.pb"),
    ),
    Case(
        "no system with virials",
        lambda: [path.unlink() for path in Path("data/train").rglob("virial.npy")],
        ("start_pref_v", "no training system has virial.npy"),
    ),
]
