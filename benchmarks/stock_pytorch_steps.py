#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Steps of stock's PyTorch backend, one for each line on standard input; prints their ms.

Run by ``hessian_training.py --peer PYTHON``, in a folder with ``input.json``. The peer has
deepmd-kit 3.2.0, torch 2.11.0, mpich and e3nn.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Build the training, then do as told."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    # whatever libraries print is no answer
    os.dup2(2, 1)
    import torch
    from deepmd.pt.entrypoints.main import get_trainer
    from deepmd.utils.argcheck import normalize

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    script = json.loads(Path("input.json").read_text())
    # its defaults are filled in only where there is a block
    script.setdefault("optimizer", {"type": "Adam"})
    trainer = get_trainer(normalize(script))
    trainer.wrapper.train()
    lr = 1e-6
    out.write(f"ready, torch {torch.__version__}\n")
    for _ in sys.stdin:
        begin = time.perf_counter()
        trainer.optimizer.zero_grad(set_to_none=True)
        inputs, labels, _ = trainer._next_training_batch("Default")
        _, loss, _ = trainer.wrapper(**inputs, cur_lr=lr, label=labels, task_key="Default")
        loss.backward()
        trainer.optimizer.step()
        loss = float(loss)
        out.write(f"{1000 * (time.perf_counter() - begin)} {loss}\n")


if __name__ == "__main__":
    main()
