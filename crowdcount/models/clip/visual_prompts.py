"""Attention of a frozen transformer block to learned prompts."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def prompted(block: Any, x: Tensor, prompts: Tensor) -> Tensor:
    """Run an open_clip block on tokens (B, T, C) that also attend to prompts (1 or B, P, C).

    The published code drops the block's output for the prompts themselves, so only their keys and values are computed,
    once for all images of a batch.
    """
    attention, width = block.attn, x.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query, *own = functional.linear(block.ln_1(x), weight, bias).chunk(3, dim=-1)
    shown = functional.linear(block.ln_1(prompts), weight[width:], bias[width:]).expand(x.shape[0], -1, -1)
    key, value = (torch.cat(pair, dim=1) for pair in zip(own, shown.chunk(2, dim=-1), strict=True))
    shape = (x.shape[0], -1, attention.num_heads, width // attention.num_heads)
    query, key, value = (each.reshape(shape).transpose(1, 2) for each in (query, key, value))
    seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    x = x + block.ls_1(attention.out_proj(seen))
    y: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return y
