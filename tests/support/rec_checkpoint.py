"""A checkpoint of GroundingREC in its original names, made from weights in the hub's layout."""

import torch

BOTH = ("weight", "bias")


def original_keys(depths, encoder_layers, decoder_layers, text_layers):
    """Return every key of an original checkpoint with the keys on the hub whose tensors it joins, top to bottom."""
    keys = {}

    def add(original, hub, leaves=BOTH):
        keys.update({f"{original}.{leaf}": [f"{hub}.{leaf}"] for leaf in leaves})

    def add_joint(original, hub, separator):
        for leaf in BOTH:
            keys[f"{original}{separator}{leaf}"] = [f"{hub}.{part}.{leaf}" for part in ("query", "key", "value")]

    image, bert = "model.backbone.conv_encoder.model", "model.text_backbone"
    add("backbone.0.patch_embed.proj", f"{image}.embeddings.patch_embeddings.projection")
    add("backbone.0.patch_embed.norm", f"{image}.embeddings.norm")
    for layer, depth in enumerate(depths):
        for block in range(depth):
            old, new = f"backbone.0.layers.{layer}.blocks.{block}", f"{image}.encoder.layers.{layer}.blocks.{block}"
            add_joint(f"{old}.attn", f"{new}.attention.self", ".qkv.")
            table = "relative_position_bias_table"
            keys[f"{old}.attn.{table}"] = [f"{new}.attention.self.{table}"]
            add(f"{old}.norm1", f"{new}.layernorm_before")
            add(f"{old}.norm2", f"{new}.layernorm_after")
            add(f"{old}.attn.proj", f"{new}.attention.output.dense")
            add(f"{old}.mlp.fc1", f"{new}.intermediate.dense")
            add(f"{old}.mlp.fc2", f"{new}.output.dense")
        if layer:
            add(f"backbone.0.norm{layer}", f"{image}.hidden_states_norms.stage{layer + 1}")
        if layer < len(depths) - 1:
            old, new = f"backbone.0.layers.{layer}.downsample", f"{image}.encoder.layers.{layer}.downsample"
            add(f"{old}.reduction", f"{new}.reduction", ["weight"])
            add(f"{old}.norm", f"{new}.norm")
    for level in range(4):
        for part in range(2):
            add(f"input_proj.{level}.{part}", f"model.input_proj_vision.{level}.{part}")
    add("feat_map", "model.text_projection")
    for part in ("word", "position", "token_type"):
        add(f"bert.embeddings.{part}_embeddings", f"{bert}.embeddings.{part}_embeddings", ["weight"])
    add("bert.embeddings.LayerNorm", f"{bert}.embeddings.LayerNorm")
    for layer in range(text_layers):
        for part in ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm"):
            add(f"bert.encoder.layer.{layer}.attention.{part}", f"{bert}.encoder.layer.{layer}.attention.{part}")
        for part in ("intermediate.dense", "output.dense", "output.LayerNorm"):
            add(f"bert.encoder.layer.{layer}.{part}", f"{bert}.encoder.layer.{layer}.{part}")
    deformable = ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
    for layer in range(encoder_layers):
        old, new = f"transformer.encoder.layers.{layer}", f"model.encoder.layers.{layer}.deformable_layer"
        for part in deformable:
            add(f"{old}.self_attn.{part}", f"{new}.self_attn.{part}")
        for was, now in {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}.items():
            add(f"{old}.{was}", f"{new}.{now}")
        text, new_text = f"transformer.encoder.text_layers.{layer}", f"model.encoder.layers.{layer}.text_enhancer_layer"
        add_joint(f"{text}.self_attn", f"{new_text}.self_attn", ".in_proj_")
        add(f"{text}.self_attn.out_proj", f"{new_text}.self_attn.out_proj")
        for was, now in {"norm1": "layer_norm_before", "norm2": "layer_norm_after"}.items():
            add(f"{text}.{was}", f"{new_text}.{now}")
        for was, now in {"linear1": "fc1", "linear2": "fc2"}.items():
            add(f"{old}.{was}", f"{new}.{now}")
            add(f"{text}.{was}", f"{new_text}.{now}")
        fusion, new = f"transformer.encoder.fusion_layers.{layer}", f"model.encoder.layers.{layer}.fusion_layer"
        keys |= {f"{fusion}.gamma_v": [f"{new}.vision_param"], f"{fusion}.gamma_l": [f"{new}.text_param"]}
        for short, long in {"v": "vision", "l": "text"}.items():
            add(f"{fusion}.layer_norm_{short}", f"{new}.layer_norm_{long}")
            for part in ("", "values_", "out_"):
                add(f"{fusion}.attn.{part}{short}_proj", f"{new}.attn.{part}{long}_proj")
    for layer in range(decoder_layers):
        old, new = f"transformer.decoder.layers.{layer}", f"model.decoder.layers.{layer}"
        for part in deformable:
            add(f"{old}.cross_attn.{part}", f"{new}.encoder_attn.{part}")
        for was, now in {"ca_text": "encoder_attn_text", "self_attn": "self_attn"}.items():
            add_joint(f"{old}.{was}", f"{new}.{now}", ".in_proj_")
            add(f"{old}.{was}.out_proj", f"{new}.{now}.out_proj")
        norms = {"norm1": "encoder_attn", "catext_norm": "encoder_attn_text", "norm2": "self_attn", "norm3": "final"}
        for was, now in norms.items():
            add(f"{old}.{was}", f"{new}.{now}_layer_norm")
        add(f"{old}.linear1", f"{new}.fc1")
        add(f"{old}.linear2", f"{new}.fc2")
        for part in range(3):
            add(f"bbox_embed.{layer}.layers.{part}", f"bbox_embed.{layer}.layers.{part}")
    add("transformer.decoder.norm", "model.decoder.layer_norm")
    for part in range(2):
        add(f"transformer.decoder.ref_point_head.layers.{part}", f"model.decoder.reference_points_head.layers.{part}")
    for part in range(3):
        add(f"transformer.enc_out_bbox_embed.layers.{part}", f"model.encoder_output_bbox_embed.layers.{part}")
    add("transformer.enc_output", "model.enc_output")
    add("transformer.enc_output_norm", "model.enc_output_norm")
    add("transformer.tgt_embed", "model.query_position_embeddings", ["weight"])
    return keys | {"transformer.level_embed": ["model.level_embed"]}


def as_released(hub, keys):
    """Return an original checkpoint with all that conversion should drop, from the weights of the hub's layout."""
    state = {original: torch.cat([hub[name] for name in names]) for original, names in keys.items()}
    state |= {f"transformer.decoder.{key}": value for key, value in state.items() if key.startswith("bbox_embed")}
    unused = ("label_enc.weight", "bert.embeddings.position_ids", "bert.pooler.dense.weight", "bert.pooler.dense.bias")
    unused += ("backbone.0.layers.1.blocks.0.attn.relative_position_index", "transformer.cross_attention.in_proj_bias")
    state |= {key: torch.zeros(1) for key in unused}
    return {"model": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
