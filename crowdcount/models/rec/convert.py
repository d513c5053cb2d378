"""Conversion of original Grounding DINO and GroundingREC checkpoints to the names on the Hugging Face hub.

`ReferringDetector.load_published` passes the result to transformers, which maps these names for each of its versions.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from crowdcount.errors import InputError

# unused, recomputed, a copy, or GroundingREC's fusion block, whose output its decoder never reads
_DROPPED = re.compile(
    r"label_enc\.weight|bert\.embeddings\.position_ids|bert\.pooler\..*|.*relative_position_index|"
    r"transformer\.cross_attention\..*|transformer\.decoder\.bbox_embed\..*"
)

_ATTENTION = {"self_attn.": "self_attn.", "linear1.": "fc1.", "linear2.": "fc2."}
_SWIN = {
    "norm1.": "layernorm_before.",
    "norm2.": "layernorm_after.",
    "attn.qkv.": "attention.self.qkv.",
    "attn.relative_position_bias_table": "attention.self.relative_position_bias_table",
    "attn.proj.": "attention.output.dense.",
    "mlp.fc1.": "intermediate.dense.",
    "mlp.fc2.": "output.dense.",
}
_FUSION = {
    "gamma_v": "vision_param",
    "gamma_l": "text_param",
    "layer_norm_v.": "layer_norm_vision.",
    "layer_norm_l.": "layer_norm_text.",
    "attn.v_proj.": "attn.vision_proj.",
    "attn.l_proj.": "attn.text_proj.",
    "attn.values_v_proj.": "attn.values_vision_proj.",
    "attn.values_l_proj.": "attn.values_text_proj.",
    "attn.out_v_proj.": "attn.out_vision_proj.",
    "attn.out_l_proj.": "attn.out_text_proj.",
}
_DECODER = {
    **_ATTENTION,
    "cross_attn.": "encoder_attn.",
    "norm1.": "encoder_attn_layer_norm.",
    "ca_text.": "encoder_attn_text.",
    "catext_norm.": "encoder_attn_text_layer_norm.",
    "norm2.": "self_attn_layer_norm.",
    "norm3.": "final_layer_norm.",
}
_IMAGE = "model.backbone.conv_encoder.model."

# original prefix, prefix on the hub, names of the parts after it (none: unchanged)
_SCOPES: tuple[tuple[str, str, dict[str, str]], ...] = (
    (r"backbone\.0\.patch_embed\.proj\.", f"{_IMAGE}embeddings.patch_embeddings.projection.", {}),
    (r"backbone\.0\.patch_embed\.norm\.", f"{_IMAGE}embeddings.norm.", {}),
    (r"backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.", _IMAGE + r"encoder.layers.\1.blocks.\2.", _SWIN),
    (r"backbone\.0\.layers\.(\d+)\.downsample\.", _IMAGE + r"encoder.layers.\1.downsample.", {}),
    (r"backbone\.0\.norm1\.", f"{_IMAGE}hidden_states_norms.stage2.", {}),
    (r"backbone\.0\.norm2\.", f"{_IMAGE}hidden_states_norms.stage3.", {}),
    (r"backbone\.0\.norm3\.", f"{_IMAGE}hidden_states_norms.stage4.", {}),
    (r"input_proj\.", "model.input_proj_vision.", {}),
    (r"feat_map\.", "model.text_projection.", {}),
    (r"bert\.", "model.text_backbone.", {}),
    (
        r"transformer\.encoder\.layers\.(\d+)\.",
        r"model.encoder.layers.\1.deformable_layer.",
        {**_ATTENTION, "norm1.": "self_attn_layer_norm.", "norm2.": "final_layer_norm."},
    ),
    (
        r"transformer\.encoder\.text_layers\.(\d+)\.",
        r"model.encoder.layers.\1.text_enhancer_layer.",
        {**_ATTENTION, "norm1.": "layer_norm_before.", "norm2.": "layer_norm_after."},
    ),
    (r"transformer\.encoder\.fusion_layers\.(\d+)\.", r"model.encoder.layers.\1.fusion_layer.", _FUSION),
    (r"transformer\.decoder\.layers\.(\d+)\.", r"model.decoder.layers.\1.", _DECODER),
    (r"transformer\.decoder\.norm\.", "model.decoder.layer_norm.", {}),
    (r"transformer\.decoder\.ref_point_head\.", "model.decoder.reference_points_head.", {}),
    (r"transformer\.enc_output\.", "model.enc_output.", {}),
    (r"transformer\.enc_output_norm\.", "model.enc_output_norm.", {}),
    (r"transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed.", {}),
    (r"transformer\.tgt_embed\.", "model.query_position_embeddings.", {}),
    (r"transformer\.level_embed", "model.level_embed", {}),
    (r"bbox_embed\.", "bbox_embed.", {}),
)


def from_authors(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the weights of an original checkpoint to the names of the Hugging Face hub.

    Args:
        state_dict: state dict of a release of Grounding DINO or GroundingREC: unchanged, with the prefix `module.`, or
            under the key `model`.

    Raises:
        InputError: a key belongs to neither model.
    """
    state: dict[str, Tensor] = {}
    for key, value in state_dict.get("model", state_dict).items():
        bare = key.removeprefix("module.")
        if not _DROPPED.fullmatch(bare):
            state |= _split(_rename(bare), value)
    boxes = {key: value for key, value in state.items() if key.startswith("bbox_embed.")}
    return {**state, **{f"model.decoder.{key}": value for key, value in boxes.items()}}


def _rename(key: str) -> str:
    for pattern, hub, parts in _SCOPES:
        match = re.match(pattern, key)
        if match is None:
            continue
        rest = key[match.end() :]
        part = next((part for part in parts if rest.startswith(part)), "")
        if not parts or part:
            return match.expand(hub) + (parts[part] + rest.removeprefix(part) if part else rest)
    raise InputError(
        f"{key!r} is not a key of a Grounding DINO or GroundingREC checkpoint; is this another model's file?"
    )


def _split(key: str, value: Tensor) -> dict[str, Tensor]:
    """Split a joint projection of queries, keys and values into the hub's three."""
    for joint in ("in_proj_", "qkv."):
        stem, found, leaf = key.rpartition(joint)
        if found:
            return {
                f"{stem}{name}.{leaf}": part
                for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True)
            }
    return {key: value}
