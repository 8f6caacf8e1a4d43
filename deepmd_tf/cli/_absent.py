# SPDX-License-Identifier: BSD-3-Clause
"""Commands and options of DeePMD-kit that this package does not have, and what serves instead.

Entries of commands and options that exist here are never looked at.
"""

from __future__ import annotations

_STOCK = "DeePMD-kit, which reads the frozen models of this package"
_ONE_HEAD = "models of this package have one head; leave the option out"

COMMANDS = {
    "gui": "there is no graphical editor of input scripts here; every key is explained on the "
    "reference page of the documentation, and mistakes are named when training starts",
    "transfer": "not needed: train with --init-frz-model OLD_MODEL and freeze again, or evaluate "
    "the old model as it is",
    "train-nvnmd": "training for NVNMD hardware is a matter of DeePMD-kit",
    "embed": "descriptors come from DeepPot.eval_descriptor in Python; other embeddings are those "
    "of PyTorch models of DeePMD-kit",
    "pretrained": "the models that can be downloaded with it are those of the PyTorch backend of "
    "DeePMD-kit",
    "convert-backend": f"use {_STOCK}: dp convert-backend frozen_model.pb model.pth",
}
"""Why a command is not there, and what to use."""

_NVNMD = "models for NVNMD hardware are a matter of DeePMD-kit"

OPTIONS = {
    "train": {
        "--model-branch": _ONE_HEAD,
        "--force-load": "it is for PyTorch checkpoints; leave the option out",
    },
    "freeze": {
        "--nvnmd-weight": _NVNMD,
        "-w": _NVNMD,
        "--head": _ONE_HEAD,
        "--model-branch": _ONE_HEAD,
        "--lower-kind": "it is for PyTorch models; leave the option out",
    },
    "compress": {"--head": _ONE_HEAD, "--model-branch": _ONE_HEAD},
    "change-bias": {"--model-branch": _ONE_HEAD},
    "eval-desc": {"--head": _ONE_HEAD, "--model-branch": _ONE_HEAD},
    "doc-train-input": {"--multi-task": "multi-task training is not available with TensorFlow"},
}
"""By command: options of DeePMD-kit that are refused with a reason."""
