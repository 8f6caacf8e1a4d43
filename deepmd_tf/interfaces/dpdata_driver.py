# SPDX-License-Identifier: BSD-3-Clause
"""A trained model as a driver of dpdata: ``system.predict("model.pb", driver="deepmd_tf")``.

The entry point ``dpdata.plugins`` names this module, so that dpdata finds it by itself. TensorFlow
is imported when a driver is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deepmd_tf.errors import InputError, optional_package

with optional_package("dpdata"):
    from dpdata.driver import Driver


@Driver.register("deepmd_tf")
class DeepmdTFDriver(Driver):
    """Labels frames with energies (eV), forces (eV/Å) and, with periodicity, virials (eV).

    Parameters
    ----------
    model
        Frozen graph or checkpoint, or an open :class:`~deepmd_tf.inference.DeepPot`.
    **options
        Of :class:`~deepmd_tf.inference.DeepPot`.

    Raises
    ------
    ModelFileError
        When the file is no complete energy model.
    """

    def __init__(self, model: Any, **options: Any) -> None:
        from deepmd_tf.inference import DeepPot

        self.model = model if isinstance(model, DeepPot) else DeepPot(model, **options)

    def label(self, data: dict[str, Any]) -> dict[str, Any]:
        """The data of a system, with labels.

        Raises
        ------
        InputError
            For an element that the model does not know.
        """
        known = self.model.get_type_map()
        unknown = sorted({data["atom_names"][t] for t in data["atom_types"]} - set(known))
        if unknown:
            raise InputError(
                f"the model does not know {', '.join(unknown)}; its elements: {', '.join(known)}"
            )
        types = [known.index(data["atom_names"][t]) for t in data["atom_types"]]
        coords = np.asarray(data["coords"])
        cells = None if data.get("nopbc", False) else np.asarray(data["cells"])
        energy, force, virial = self.model.eval(coords, cells, types)
        labels = {"energies": energy[:, 0], "forces": force}
        if cells is not None:
            labels["virials"] = virial.reshape(-1, 3, 3)
        return {**data, **labels}
