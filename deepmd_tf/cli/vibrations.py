# SPDX-License-Identifier: BSD-3-Clause
"""``dp vibrations``: frequencies and modes of molecules, phonons of crystals."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepmd_tf.cli._options import add_log_options, add_model
from deepmd_tf.errors import InputError


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp vibrations``."""
    parser = subparsers.add_parser(
        "vibrations",
        help="compute vibrations and phonons",
        description="Compute harmonic frequencies and normal modes of a structure from the model's "
        "exact second derivatives, or with --supercell force constants and phonon bands of a "
        "crystal. Files of an earlier run in the folder of the results are replaced when all new "
        "ones are complete.",
        epilog="examples: dp --tf vibrations -m model.pb -s water.xyz --relax | "
        "dp --tf vibrations -m model.pb -s POSCAR --relax --supercell 3 3 3",
    )
    add_model(parser)
    _add_structure(parser)
    _add_results(parser)
    _add_crystal(parser.add_argument_group("crystals"))
    add_log_options(parser)
    return parser


def _add_structure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-s",
        "--structure",
        metavar="FILE",
        required=True,
        help="structure in any format of ASE, or a data system; FILE@3 is frame 3 counted from 0 "
        "(default: the last frame)",
    )
    parser.add_argument(
        "--relax",
        metavar="FMAX",
        type=float,
        nargs="?",
        const=1e-3,
        help="first move the atoms until no force is larger than this, in eV/Å, in a fixed cell "
        "(default without a number: 0.001)",
    )
    parser.add_argument(
        "--steps", metavar="N", type=int, default=1000, help="of --relax, at most (default: 1000)"
    )
    parser.add_argument(
        "--optimizer",
        choices=["BFGS", "LBFGS", "FIRE"],
        help="of --relax (default: BFGS up to 300 atoms, then LBFGS)",
    )
    parser.add_argument(
        "--atoms",
        metavar="N",
        nargs="+",
        help="atoms that move while all others are fixed, counted from 0, or ranges as 0:12 "
        "(default: all that the structure file does not fix)",
    )
    parser.add_argument(
        "--masses",
        metavar="WHAT=MASS",
        nargs="+",
        default=[],
        help="other masses in u of elements or atoms, as H=2.014, H=D or 3=D (default: those in "
        "the structure file, or of the natural mixture of isotopes)",
    )
    parser.add_argument(
        "--types",
        metavar="ELEMENT=TYPE",
        nargs="+",
        default=[],
        help="names of types in the model that differ from those of the elements, as O=OW",
    )


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="vibrations",
        help="folder of the results (default: vibrations)",
    )
    parser.add_argument(
        "--project",
        choices=["auto", "none", "translations", "rotations"],
        default="auto",
        help="motions of all atoms together to leave out; rotations: translations too "
        "(auto: rotations without periodicity, translations with it, none with fixed atoms)",
    )
    parser.add_argument(
        "--modes",
        metavar="N",
        nargs="+",
        help="modes to write as animations, counted from 0, or ranges as 0:12, or none "
        "(default: all, if there are at most 60)",
    )
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        nargs="+",
        default=[298.15],
        help="of energy, entropy and heat capacity of the vibrations, K (default: 298.15)",
    )
    parser.add_argument(
        "--width",
        metavar="WIDTH",
        type=float,
        default=20.0,
        help="full width at half maximum of lines in the picture, cm⁻¹ (default: 20)",
    )
    parser.add_argument(
        "--picture",
        choices=["png", "pdf", "svg"],
        default="png",
        help="format of the picture (default: png)",
    )


def _add_crystal(crystal: argparse._ArgumentGroup) -> None:
    crystal.add_argument(
        "--supercell",
        metavar="N",
        type=int,
        nargs="+",
        help="cells along each lattice vector, or the 9 numbers of a matrix: write force "
        "constants for phonopy and the band structure; needs phonopy",
    )
    crystal.add_argument(
        "--primitive",
        choices=["auto", "P", "F", "I", "A", "C", "R"],
        default="auto",
        help="centring of the cell (default: auto, found by phonopy)",
    )
    crystal.add_argument(
        "--path",
        metavar="POINTS",
        help="special points of the band structure in the names of ASE, as GXW,KL "
        "(default: the path that ASE proposes for the lattice)",
    )
    crystal.add_argument(
        "--symmetrize",
        action="store_true",
        help="let phonopy make the force constants obey the sum rule to the last digit",
    )


def run(args: argparse.Namespace) -> None:
    """Compute."""
    _check(args)
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    from deepmd_tf.analysis.stationary import Relaxation
    from deepmd_tf.analysis.structures import read_structure, set_masses, types_of_elements
    from deepmd_tf.analysis.vibration_study import Study
    from deepmd_tf.interfaces.ase import DP

    if args.supercell:
        import deepmd_tf.analysis.phonons  # noqa: F401  whether phonopy is there, before the work

    relaxation = None
    if args.relax is not None:
        relaxation = Relaxation(args.relax, args.steps, args.optimizer)
    with DP(args.model) as calculator:
        type_map = calculator.dp.get_type_map()
        calculator.type_dict, symbols = types_of_elements(args.types, type_map)
        atoms = read_structure(args.structure, type_map, symbols)
        set_masses(atoms, args.masses)
        atoms.calc = calculator
        study = Study(
            atoms,
            Path(args.output),
            {"model": args.model, "structure": args.structure},
            relaxation,
            args.temperature,
            args.width,
            args.picture,
        )
        if args.supercell:
            study.crystal(args.supercell, args.primitive, args.path, args.symmetrize)
        else:
            study.vibrations(args.atoms, args.project, args.modes)


def _check(args: argparse.Namespace) -> None:
    """Refuse what contradicts itself.

    Raises
    ------
    InputError
    """
    only = ("--primitive", "--path", "--symmetrize")
    others = ("--atoms", "--project", "--modes")
    for names, wrong in ((others, bool(args.supercell)), (only, not args.supercell)):
        for name in names:
            value = getattr(args, name.lstrip("-"))
            if wrong and value not in (None, False, "auto"):
                whose = "without" if args.supercell else "with"
                raise InputError(f"{name} goes {whose} --supercell")
    if args.relax is None and args.optimizer is not None:
        raise InputError("--optimizer goes with --relax")
    if not args.width > 0:
        raise InputError(f"--width {args.width:g}: expected a positive number of cm⁻¹")
    for temperature in args.temperature:
        if not temperature > 0:
            raise InputError(f"--temperature {temperature:g}: expected a positive number of K")
