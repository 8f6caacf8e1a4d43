# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors of one selection of neighbours of all types: ``se_atten`` and ``se_atten_v2``."""

from __future__ import annotations

from typing import ClassVar, Literal

from deepmd_tf.config.descriptors.base import DescriptorConfig
from deepmd_tf.config.descriptors.two_body import MatrixConfig
from deepmd_tf.config.section import Foreign, option
from deepmd_tf.config.values import Bool, Int, Number, TotalSel, Width

_ELSEWHERE = "works with other backends of DeePMD-kit only"
_EMBEDDING = "does nothing with TensorFlow; the section model/type_embedding describes the vectors"


class AttentionConfig(MatrixConfig):
    """Descriptors with one embedding net for all types, of s(r) and the type embedding."""

    one_selection: ClassVar[bool] = True
    refused: ClassVar[dict[str, Foreign]] = {
        "scaling_factor": Foreign(1.0, f"a scale of the attention {_ELSEWHERE}"),
        "normalize": Foreign(True, f"attention without normalised vectors {_ELSEWHERE}"),
        "temperature": Foreign(None, f"a temperature of the attention {_ELSEWHERE}"),
        "concat_output_tebd": Foreign(True, f"features without the type embedding {_ELSEWHERE}"),
    }
    ignored: ClassVar[dict[str, Foreign]] = {
        "tebd_dim": Foreign(8, _EMBEDDING),
        "use_econf_tebd": Foreign(False, _EMBEDDING),
        "use_tebd_bias": Foreign(False, _EMBEDDING),
    }

    sel: TotalSel = option(  # type: ignore[assignment]
        "auto",
        doc="Largest number of neighbours of all types together within rcut; the entries of a list "
        'are added. When an atom has more, the farthest are left out. "auto" takes the largest '
        'number found in the training data times 1.1, "auto:f" times f, rounded up to a multiple '
        "of 4.",
    )
    attn: Width = option(128, doc="Width of the vectors of the attention.")
    attn_layer: Int = option(
        2,
        ge=0,
        doc="Layers of attention between the neighbours of an atom; without them evaluation is "
        "much faster, and models of stripped nets (tebd_input_mode strip, or se_atten_v2) can be "
        "compressed.",
    )
    attn_dotr: Bool = option(
        True, doc="Multiply attention with the cosine of the angle between two neighbours."
    )
    attn_mask: Bool = option(False, doc="Leave out the attention of a neighbour to itself.")
    trainable_ln: Bool = option(
        True, doc="Whether training changes scale and shift of the normalisation of layers."
    )
    ln_eps: Number | None = option(
        None, gt=0, doc="Added to the variance in the normalisation of layers; none: 1e-3."
    )

    @property
    def explicit_types(self) -> bool:
        """Its nets take the type embedding."""
        return True

    @property
    def stripped(self) -> bool:
        """Whether the types come in by a net of their own, as a factor."""
        return True

    @property
    def remark(self) -> str:
        if not (self.type_one_side and self.stripped):
            return ""
        return (
            "type_one_side is ignored: the net of the types of stripped nets always takes both of "
            "a pair; remove it, or set it to false"
        )

    @property
    def smooth(self) -> bool:
        """Whether what the types add goes to zero at the cutoff."""
        return True

    @property
    def zero_mean(self) -> bool:
        """Not with smooth attention: empty slots then have a small weight in its softmax."""
        return self.set_davg_zero and not (self.smooth and self.attn_layer)

    @property
    def epsilon(self) -> float:
        """Of the normalisation of layers."""
        return 1e-3 if self.ln_eps is None else self.ln_eps


@DescriptorConfig.register
class DescriptorSeAtten(AttentionConfig):
    """Embedding of distance and types, with attention between the neighbours (DPA-1).

    One embedding net serves all pairs of types: it takes s(r) and the vectors of both types
    (``model/type_embedding``), so that a model of many elements has no more weights than one of
    few. Layers of attention let the neighbours of an atom see each other.
    """

    type_aliases: ClassVar[dict[str, str]] = {"dpa1": "se_atten"}

    type: Literal["se_atten"] = option(doc="Kind of descriptor.")
    tebd_input_mode: Literal["concat", "strip"] = option(
        "concat",
        doc="concat: the embedding net takes s(r) and the vectors of the types. strip: it takes "
        "s(r) alone, and is multiplied with a net of the vectors.",
    )
    stripped_type_embedding: Bool | None = option(
        None,
        omit_none=True,
        doc="Older key: true is strip, false concat, whatever tebd_input_mode says.",
    )
    smooth_type_embedding: Bool = option(
        False,
        aliases=("smooth_type_embdding",),
        doc="Switch off at the cutoff what types and attention add, so that energies are smooth "
        "where an atom passes it.",
    )
    set_davg_zero: Bool = option(
        True,
        doc="Do not subtract the mean of the environment; needed for exact energies of lone atoms.",
    )

    @property
    def stripped(self) -> bool:
        if self.stripped_type_embedding is None:
            return self.tebd_input_mode == "strip"
        return self.stripped_type_embedding

    @property
    def smooth(self) -> bool:
        return self.smooth_type_embedding


@DescriptorConfig.register
class DescriptorSeAttenV2(AttentionConfig):
    """``se_atten`` with ``tebd_input_mode`` strip and ``smooth_type_embedding``.

    Without layers of attention (``attn_layer: 0``) it is as fast as ``se_e2_a``, and its models can
    be compressed.
    """

    type: Literal["se_atten_v2"] = option(doc="Kind of descriptor.")
    type_one_side: Bool = option(
        False, doc="Does nothing: the net of the types takes those of neighbour and centre."
    )
