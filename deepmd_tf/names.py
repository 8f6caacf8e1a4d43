# SPDX-License-Identifier: BSD-3-Clause
"""Names that a frozen graph or a checkpoint promises to the programs that read it.

A runtime finds inputs, outputs, attributes and weights of a model by node name alone. Every such
name is written here once. ``D`` below is the interface precision: float64, or float32 under
``DP_INTERFACE_PREC=low``.

Names are node names, without the output index (``:0``).
"""

from __future__ import annotations

import re

# --- inputs
# All are rank 1 in the graph; C++ runtimes feed [n_frames, n], Python runtimes feed the same
# flattened.

T_COORD = "t_coord"
"""D [n_frames * n_all * 3], coordinates in angstrom, atoms sorted by type."""
T_TYPE = "t_type"
"""int32 [n_frames * n_all], atom types; -1 marks a virtual atom."""
T_NATOMS = "t_natoms"
"""int32 [2 + n_types]: local atoms, all atoms, local atoms of each type."""
T_BOX = "t_box"
"""D [n_frames * 9], rows are lattice vectors in angstrom."""
T_MESH = "t_mesh"
"""int32; its length says where neighbours come from (0 open, 6 periodic, >= 16 given)."""
T_FPARAM = "t_fparam"
"""D [n_frames * dim_fparam], frame parameters; exists only in models that have them."""
T_APARAM = "t_aparam"
"""D [n_frames * n_loc * dim_aparam], atomic parameters; exists only in models that have them."""

INPUTS = (T_COORD, T_TYPE, T_NATOMS, T_BOX, T_MESH)
"""Placeholders that every model has, in the order in which they are fed; parameters follow."""

# --- outputs

O_ENERGY = "o_energy"
"""float64 [n_frames], eV, whatever D is."""
O_FORCE = "o_force"
"""D [n_frames, 3 * n_all], eV/angstrom, ghosts included."""
O_VIRIAL = "o_virial"
"""D [n_frames, 9], eV, minus the derivative of the energy with respect to strain."""
O_ATOM_ENERGY = "o_atom_energy"
"""D [n_frames, n_loc], eV."""
O_ATOM_VIRIAL = "o_atom_virial"
"""D [n_frames, 9 * n_all], eV, attributed to the neighbour of each pair."""

OUTPUTS = (O_ENERGY, O_FORCE, O_VIRIAL, O_ATOM_ENERGY, O_ATOM_VIRIAL)
"""Tensors that every frozen energy model has."""

O_DIPOLE = "o_dipole"
"""D [n_frames, n_sel * 3], of the atoms of the selected types (:data:`SEL_TYPE`) only, sorted by
type, in the unit of the labels."""
O_GLOBAL_DIPOLE = "o_global_dipole"
"""float64 [n_frames, 3], the sum over atoms."""
O_POLAR = "o_polar"
"""D [n_frames, n_sel * 9], as :data:`O_DIPOLE`; xx, xy, xz, yx, …"""
O_GLOBAL_POLAR = "o_global_polar"
"""float64 [n_frames, 9]."""
O_ROT_MAT = "o_rot_mat"
"""D [n_frames, n_loc * M1 * 3]: the rows x, y, z of the moments, transposed; of models of tensors,
whose ``o_force``, ``o_virial`` and ``o_atom_virial`` have an axis of components behind that of the
frames: minus the derivatives of the global tensor."""
O_DOS = "o_dos"
"""float64 [n_frames, n_points], density of states, the sum over atoms."""
O_ATOM_DOS = "o_atom_dos"
"""D [n_frames, n_loc, n_points]."""

O_DESCRIPTOR = "o_descriptor"
"""D [n_frames, n_loc, dim]."""
T_TYPEEBD = "t_typeebd"
"""[n_types, width], or one row of zeros more: the type embedding; only in models that have one."""
O_RMAT = "o_rmat"
"""D [n_frames * n_loc, n_descriptor]: normalised environment rows, padded to ``sel``."""
O_RMAT_DERIV = "o_rmat_deriv"
"""D [n_frames, n_loc * n_descriptor * 3]: derivative of the rows with respect to the centre."""
O_RIJ = "o_rij"
"""D [n_frames, n_loc * n_slots * 3], angstrom: neighbour minus centre."""
O_NLIST = "o_nlist"
"""int32 [n_frames, n_loc * n_slots]: atom index, -1 in empty slots."""

STOCK_ROWS = (O_RMAT, O_RMAT_DERIV, O_RIJ, O_NLIST)
"""Further tensors of an environment of the stock dialect; see :func:`suffixed`."""
STOCK_OUTPUTS = (O_DESCRIPTOR, *STOCK_ROWS)
"""Further tensors of the stock dialect."""

DIAGNOSTICS = {
    "dropped": "x_dropped",
    "max_found": "x_max_found",
    "outside": "x_outside",
}
"""Further tensors of the native dialect, by what they count; see
:class:`~deepmd_tf.environment.Environment`. Their names do not begin with ``o_``, which programs
of stock DeePMD-kit take for results."""

X_HESSIAN = "x_hessian"
"""D [n_frames, 3 * n_loc, 3 * n_loc], eV/angstrom^2: second derivatives of the energy; only in
native files that were asked for it, and computed only when it is fetched. Without ghosts: for
meshes of length 0 and 6. ``o_hessian`` would stop Python programs of stock DeePMD-kit."""
X_DIRECTION = "x_direction"
"""D [n_frames * 3 * n_loc], a vector v for each frame; to be fed for :data:`X_HESSIAN_VECTOR`."""
X_HESSIAN_VECTOR = "x_hessian_vector"
"""D [n_frames, 3 * n_loc], eV/angstrom^2 times the unit of v: H v, where the whole matrix takes too
much memory; beside :data:`X_HESSIAN`."""

HESSIAN_OUTPUTS = (X_HESSIAN, X_DIRECTION, X_HESSIAN_VECTOR)
"""Nodes that native files with Hessians have beside the others."""

# --- attributes

MODEL_KIND = "model_type"
"""string, top level: :data:`KIND_ORIGINAL` or :data:`KIND_COMPRESSED`. Not :data:`MODEL_TYPE`."""
KIND_ORIGINAL = "original_model"
KIND_COMPRESSED = "compressed_model"

TRAINING_SCRIPT = "train_attr/training_script"
"""string: the whole normalised input as JSON, with a blank behind each comma and colon: programs
such as ABACUS look for ``"type_map": ["O", "H"]`` in the file."""
MIN_NBOR_DIST = "train_attr/min_nbor_dist"
"""float64, angstrom: smallest distance in the training data; absent when it was not measured."""

TYPE_MAP = "model_attr/tmap"
"""string: element names joined by one space."""
MODEL_TYPE = "model_attr/model_type"
"""string: what the model predicts, :data:`MODEL_TYPE_ENERGY` here."""
MODEL_TYPE_ENERGY = "ener"
MODEL_VERSION = "model_attr/model_version"
"""string "MAJOR.MINOR": version of the interface."""
SUPPORTED_VERSION = "1.1"
"""Interface version that is written; the same major and at most this minor version are read."""
NATIVE_FORMAT = "model_attr/native_format"
"""int32, in native files only: version of the names, inputs and attributes of this package's
operations in the graph; 0 where it is missing."""
SUPPORTED_NATIVE_FORMAT = 2
"""Native format that is written; it and the ones before are read."""
OUT_BIAS = "model_attr/model_attr/t_out_bias"
"""D [1, n_types, 1], zeros. The scope is doubled in stock files, hence here."""
OUT_STD = "model_attr/model_attr/t_out_std"
"""D [1, n_types, 1], ones."""

SEL_TYPE = "model_attr/sel_type"
"""int32 [k]: types of the atoms that have a tensor; in models of tensors."""
OUTPUT_DIM = "model_attr/output_dim"
"""int32: numbers in the tensor of an atom, 3 or 9, or points of a density of states."""

TAB_INFO = "model_attr/t_tab_info"
"""float64 [4], of models with a table of pair potentials: first distance and step in angstrom,
numbers of intervals and of types."""
TAB_DATA = "model_attr/t_tab_data"
"""float64 [n_types * n_types * n_intervals * 4], eV: coefficients of the cubics of that table; see
:class:`deepmd_tf.pair_table.PairTable`."""

RCUT = "descrpt_attr/rcut"
"""D, angstrom. Its dtype announces D to C++ runtimes."""
NTYPES = "descrpt_attr/ntypes"
"""int32."""
NDESCRPT = "descrpt_attr/ndescrpt"
"""int32: length of one environment row padded to ``sel``, 4 * sum(sel)."""
SEL = "descrpt_attr/sel"
"""int32 [n_types]: neighbours kept of each type."""
ORIGINAL_SEL = "descrpt_attr/original_sel"
"""int32 [n_types]: ``sel`` by which the moments are normalised."""
T_AVG = "descrpt_attr/t_avg"
"""D [n_types, n_descriptor]: mean of the environment rows, tiled over the slots."""
T_STD = "descrpt_attr/t_std"
"""D [n_types, n_descriptor]: standard deviation of the environment rows, tiled over the slots."""

DFPARAM = "fitting_attr/dfparam"
"""int32: number of frame parameters. C++ runtimes need it even when it is 0."""
DAPARAM = "fitting_attr/daparam"
"""int32: number of parameters of an atom. C++ runtimes need it even when it is 0."""
APARAM_NALL = "fitting_attr/aparam_nall"
"""bool: whether programs give parameters of ghosts, too; absent where they do not."""
DEFAULT_FPARAM = "fitting_attr/default_fparam"
"""float64 [dim_fparam]: frame parameters when a caller gives none; absent when there are none.
Programs of stock DeePMD-kit refuse a training script that has them and ignore this node."""
NTYPES_SPIN = "spin_attr/ntypes_spin"
"""int32: types with a spin, as many as the types of virtual atoms, which are the last ones; absent
in a model without spins."""
VIRTUAL_LEN = "spin_attr/virtual_len"
"""D [ntypes_spin], Å: distance of the virtual atom of a spin of the size of the next node."""
SPIN_NORM = "spin_attr/spin_norm"
"""D [ntypes_spin], in the unit of spins."""
BIAS_ATOM_E = "fitting_attr/t_bias_atom_e"
"""D [n_types], eV: energy added to each atom of a type; with spins of the types of real atoms."""
POLAR_SHIFT = "fitting_attr/t_constant_matrix"
"""D [n_types]: what is added to the diagonal of the polarisabilities of atoms; of models of
polarisabilities. Which entry that is for an atom: :class:`deepmd_tf.fitting.PolarFitting`."""
NUMB_DOS = "fitting_attr/numb_dos"
"""int32: points of the density of states."""
BIAS_DOS = "fitting_attr/t_bias_dos"
"""float64 [n_types, n_points], zeros, in checkpoints only: programs of DeePMD-kit have a variable
that nothing depends on."""
FPARAM_AVG = "fitting_attr/t_fparam_avg"
"""D [dim_fparam]."""
FPARAM_ISTD = "fitting_attr/t_fparam_istd"
"""D [dim_fparam]: inverse standard deviation."""
APARAM_AVG = "fitting_attr/t_aparam_avg"
"""D [dim_aparam]."""
APARAM_ISTD = "fitting_attr/t_aparam_istd"
"""D [dim_aparam]: inverse standard deviation."""

ATTRIBUTES = (
    MODEL_KIND,
    TRAINING_SCRIPT,
    MIN_NBOR_DIST,
    TYPE_MAP,
    MODEL_TYPE,
    MODEL_VERSION,
    NATIVE_FORMAT,
    RCUT,
    NTYPES,
    NDESCRPT,
    SEL,
    ORIGINAL_SEL,
    DFPARAM,
    DAPARAM,
    DEFAULT_FPARAM,
    SEL_TYPE,
    OUTPUT_DIM,
    NUMB_DOS,
    NTYPES_SPIN,
    VIRTUAL_LEN,
    SPIN_NORM,
)
"""Constants that describe a model, in the order in which they are written."""

OF_SOME_MODELS = frozenset(
    {
        *(DEFAULT_FPARAM, NATIVE_FORMAT),
        *(SEL_TYPE, OUTPUT_DIM, NUMB_DOS),
        *(NTYPES_SPIN, VIRTUAL_LEN, SPIN_NORM),
    }
)
"""Those that only some models or files have."""

OF_ENVIRONMENT = (NDESCRPT, SEL, ORIGINAL_SEL)
"""Those of :data:`ATTRIBUTES` that an environment with a scope has under its own name."""

# --- scopes
# A descriptor of several environments has names of each, with a suffix "_0", "_1", … behind the
# scope, or behind a name that has none.


def suffixed(name: str, suffix: str) -> str:
    """A name of an environment: ``descrpt_attr_0/t_avg`` or ``o_rmat_0`` for the suffix ``_0``."""
    scope, slash, rest = name.partition("/")
    return f"{scope}{suffix}{slash}{rest}"


# A model of several has names of each, with a further suffix "_model0", "_model1", … (linear_ener),
# or "_qm" and "_qmmm" (pairwise_dprc). That of an environment comes behind it.

PAIR = ("_qm", "_qmmm")
"""Scopes of the models of a quantum region and of the region with a fragment."""
MODEL_SCOPE = r"_(?:model\d+|qmmm|qm)"
"""Regular expression of the scopes of models of several."""
_OF_MODEL = re.compile(rf"{MODEL_SCOPE}(?=_\d+(?:/|$)|/|$)")
_OF_ENVIRONMENT = re.compile(
    r"(descrpt_attr|filter_type_(?:all|\d+)|attention_layer_\d+|o_rmat|o_rmat_deriv|o_rij|o_nlist)"
    r"(_\d+)?(/.*)?"
)


def in_model(name: str, scope: str) -> str:
    """A name of one of several models, from that of a model by itself.

    With the scope ``_model0`` ``layer_0_type_1_model0/bias`` for ``layer_0_type_1/bias``, and
    ``descrpt_attr_model0_1/t_avg`` for ``descrpt_attr_1/t_avg``.

    A name that has the scope stays as it is, and so does one of what both models of a pair share:
    the type embedding.
    """
    if scope in PAIR and name.startswith((T_TYPEEBD, "type_embed_net/")):
        return name
    if not scope or split_model(name)[1] == scope:
        return name
    if found := _OF_ENVIRONMENT.fullmatch(name):
        return f"{found[1]}{scope}{found[2] or ''}{found[3] or ''}"
    if name in (OUT_BIAS, OUT_STD):  # whose own scope stands there twice
        own, _, rest = name.partition("/")
        return f"{own}{scope}/{suffixed(rest, scope)}"
    return suffixed(name, scope)


def split_model(name: str) -> tuple[str, str]:
    """The name in a model by itself, and the scope: the inverse of :func:`in_model`."""
    found = _OF_MODEL.search(name)
    if found is None or "/" in name[: found.start()]:
        return name, ""
    return name.replace(found[0], ""), found[0]


# --- checkpoints

GLOBAL_STEP = "global_step"
"""int64: steps done."""


def placeholder(key: str) -> str:
    """Placeholder of the data item ``key``, e.g. ``t_coord`` or ``t_energy``."""
    return f"t_{key}"


# --- weights


def embedding_scope(center: int | None, suffix: str = "") -> str:
    """Scope of the embedding nets around centre type ``center``; ``None``: the same for all.
    ``suffix`` is that of the environment.
    """
    return f"filter_type_{'all' if center is None else center}{suffix}"


Neighbor = int | tuple[int, int] | str | None
"""Type of the neighbours that an embedding net is for, or types of two; None: all types; a text:
what distinguishes a second net for all types."""


def _of_neighbor(neighbor: Neighbor) -> str:
    if neighbor is None:
        return ""
    types = neighbor if isinstance(neighbor, tuple) else (neighbor,)
    return "".join(f"_{t}" for t in types)


def embedding_matrix(layer: int, center: int | None, neighbor: Neighbor, suffix: str = "") -> str:
    """Weights [n_in, n_out] of layer ``layer`` (1, 2, ...) for neighbours of type ``neighbor``."""
    return f"{embedding_scope(center, suffix)}/matrix_{layer}{_of_neighbor(neighbor)}"


def embedding_bias(layer: int, center: int | None, neighbor: Neighbor, suffix: str = "") -> str:
    """Bias [n_out] of layer ``layer`` (1, 2, ...); arguments as :func:`embedding_matrix`."""
    return f"{embedding_scope(center, suffix)}/bias_{layer}{_of_neighbor(neighbor)}"


def embedding_idt(layer: int, center: int | None, neighbor: Neighbor, suffix: str = "") -> str:
    """Timestep [1, n_out] of layer ``layer`` (1, 2, ...), which exists with ``resnet_dt``;
    arguments as :func:`embedding_matrix`."""
    return f"{embedding_scope(center, suffix)}/idt_{layer}{_of_neighbor(neighbor)}"


def type_embedding_matrix(layer: int) -> str:
    """Weights [n_in, n_out] of layer ``layer`` (1, 2, ...) of the net that makes the type
    embedding."""
    return f"type_embed_net/matrix_{layer}"


def type_embedding_bias(layer: int) -> str:
    """Bias [n_out] of that layer, which exists with ``use_tebd_bias``."""
    return f"type_embed_net/bias_{layer}"


def type_embedding_idt(layer: int) -> str:
    """Timestep [1, n_out] of that layer, which exists with ``resnet_dt``."""
    return f"type_embed_net/idt_{layer}"


ATTENTION_LINEAR = ("c_query", "c_key", "c_value", "c_out")
"""Linear maps of a layer of attention."""


def attention_weight(layer: int, part: str, kind: str, suffix: str = "") -> str:
    """``matrix`` [n_in, n_out] or ``bias`` [n_out] (``kind``) of one of :data:`ATTENTION_LINEAR` of
    layer ``layer`` (0, 1, ...)."""
    return f"attention_layer_{layer}{suffix}/{part}/{kind}"


def attention_norm(layer: int, part: str, suffix: str = "") -> str:
    """``gamma`` or ``beta`` (``part``) [M1], scale and shift behind the normalisation of layer
    ``layer``."""
    return f"attention_layer_{layer}{suffix}/layer_normalization/{part}"


def embedding_table(center: int | None, neighbor: Neighbor, suffix: str = "") -> str:
    """Spline coefficients of a compressed embedding net, [n_rows, 6 * n_out]."""
    return f"{embedding_scope(center, suffix)}/net{_of_neighbor(neighbor)}/table"


def embedding_table_info(center: int | None, neighbor: Neighbor, suffix: str = "") -> str:
    """Limits and row widths of a table, [6]; see
    :func:`deepmd_tf.ops.stock.tabulate_fusion_se_a`."""
    return f"{embedding_scope(center, suffix)}/net{_of_neighbor(neighbor)}/table_info"


def fitting_scope(layer: int | None, atom_type: int | None, shared_name: str | None = None) -> str:
    """Scope of one layer of the fitting net of ``atom_type``.

    Parameters
    ----------
    layer
        0, 1, ... for hidden layers, ``None`` for the final one.
    atom_type
        Type of the atom whose energy is fitted; ``None`` where one net is for all types.
    shared_name
        Entry of ``layer_name`` in the input; layers of one type with equal names share their
        weights.
    """
    of_type = "" if atom_type is None else f"_type_{atom_type}"
    if shared_name is not None:
        return f"share_{shared_name}{of_type}"
    if layer is None:
        return f"final_layer{of_type}"
    return f"layer_{layer}{of_type}"


def fitting_matrix(layer: int | None, atom_type: int | None, shared_name: str | None = None) -> str:
    """Weights [n_in, n_out] of a fitting layer; arguments as :func:`fitting_scope`."""
    return f"{fitting_scope(layer, atom_type, shared_name)}/matrix"


def fitting_bias(layer: int | None, atom_type: int | None, shared_name: str | None = None) -> str:
    """Bias [n_out] of a fitting layer; arguments as :func:`fitting_scope`."""
    return f"{fitting_scope(layer, atom_type, shared_name)}/bias"


def fitting_idt(layer: int, atom_type: int | None, shared_name: str | None = None) -> str:
    """Timestep [n_out] of a hidden fitting layer; arguments as :func:`fitting_scope`."""
    return f"{fitting_scope(layer, atom_type, shared_name)}/idt"


_WEIGHT = re.compile(
    r"filter_type_(?:all|\d+)(?:_\d+)?/(?:matrix|bias|idt)_\d+(?:_\d+(?:_\d+)?|_(?:one|two)_side_ebd)?"
    r"|attention_layer_\d+(?:_\d+)?/(?:c_(?:query|key|value|out)/(?:matrix|bias)"
    r"|layer_normalization(?:_\d+)?/(?:gamma|beta))"
    r"|type_embed_net/(?:matrix|bias|idt)_\d+"
    r"|(?:layer_\d+|final_layer|share_.+)(?:_type_\d+)?/(?:matrix|bias|idt)"
)
_STATISTICS = frozenset(
    (
        T_AVG,
        T_STD,
        BIAS_ATOM_E,
        POLAR_SHIFT,
        FPARAM_AVG,
        FPARAM_ISTD,
        APARAM_AVG,
        APARAM_ISTD,
        OUT_BIAS,
        OUT_STD,
        TAB_INFO,
        TAB_DATA,
    )
)
_SUFFIXED_ATTRIBUTE = re.compile(r"descrpt_attr_\d+/(?:ndescrpt|sel|original_sel)")
_SUFFIXED_AVERAGE = re.compile(r"descrpt_attr_\d+/t_(?:avg|std)")


def is_attribute(name: str) -> bool:
    """Whether ``name`` is one of :data:`ATTRIBUTES`, or of :data:`OF_ENVIRONMENT` with a scope."""
    name = split_model(name)[0]
    return name in ATTRIBUTES or _SUFFIXED_ATTRIBUTE.fullmatch(name) is not None


def is_embedding_weight(name: str) -> bool:
    """Whether ``name`` is a weight of an embedding net."""
    name = split_model(name)[0]
    return name.startswith("filter_type_") and _WEIGHT.fullmatch(name) is not None


def is_parameter(name: str) -> bool:
    """Whether ``name`` is a number that the model computes with: a weight of a net or a statistic.

    Optimizer slots, the step counter and nodes that only use a weight are not.
    """
    patterns = (_WEIGHT, _SUFFIXED_AVERAGE)
    name = split_model(name)[0]
    return name in _STATISTICS or any(p.fullmatch(name) for p in patterns)


def present(name: str) -> str:
    """The name that a variable of an older file has now: DeePMD-kit numbered normalisations, as in
    ``attention_layer_1/layer_normalization_1/beta``, and so were the slots of the optimizer.
    """
    scope = rf"^(attention_layer_\d+(?:{MODEL_SCOPE})?(?:_\d+)?/layer_normalization)_\d+/"
    return re.sub(scope, r"\1/", name)


def of_any_type(name: str) -> str:
    """The name of a weight with ``*`` in place of types: the same for the nets of all types."""
    name = re.sub(r"_type_(?:all|\d+)", "_type_*", name)
    return re.sub(r"(/(?:matrix|bias|idt)_\d+)_\d+(_\d+)?$", r"\1_*", name)


def center_type(name: str) -> int | None:
    """The type of the atoms whose net the weight ``name`` belongs to; None if it is for all."""
    found = re.search(r"_type_(\d+)", name)
    return None if found is None else int(found[1])


def weight_owner(name: str) -> str | None:
    """The part of the model whose net the weight ``name`` belongs to: "descriptor", "fitting-net",
    "type-embedding"; ``None`` for statistics and for what is no weight.
    """
    if _WEIGHT.fullmatch(split_model(name)[0]) is None:
        return None
    owners = {"filter_": "descriptor", "attention": "descriptor", "type_emb": "type-embedding"}
    return next((part for start, part in owners.items() if name.startswith(start)), "fitting-net")
