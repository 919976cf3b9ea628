#!/usr/bin/env python3
"""Golden file of rotary frequencies: make_rope_golden.py > tests/golden/rope.txt

Needs torch and transformers, whose ROPE_INIT_FUNCTIONS compute what a line holds: hyperparameters
under their canonical names (lists with commas), "=>", the factor of cos and sin, the inverse
frequencies.
"""
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

# config.json's name -> canonical name; the others are the same behind "rope.scaling."
NAMES = {
    "rope_type": "rope.scaling.type",
    "original_max_position_embeddings": "rope.scaling.original_context_length",
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
    "mscale": "rope.scaling.yarn_mscale",
    "mscale_all_dim": "rope.scaling.yarn_log_multiplier",
    "truncate": "rope.scaling.yarn_truncate",
}


def canonical(rope, key):
    if key == "attention_factor":
        return "rope.scaling." + ("yarn_" if rope["rope_type"] == "yarn" else "") + "attn_factor"
    return NAMES.get(key, "rope.scaling." + key)


def text(value):
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(f"{v:.9g}" for v in value) if isinstance(value, list) else str(value)


def case(theta, context, head, seq_len=None, **rope):
    config = LlamaConfig(hidden_size=4 * head, num_attention_heads=4, head_dim=head,
                         max_position_embeddings=context, rope_parameters={"rope_theta": theta, **rope})
    kind = rope["rope_type"]
    if kind == "default":
        inv = 1 / theta ** (torch.arange(0, head, 2, dtype=torch.int64).float() / head)
        scale = 1.0
    else:
        inv, scale = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=seq_len)
    meta = [f"rope.freq_base={theta}", f"context_length={context}"]
    meta += [f"{canonical(rope, k)}={text(v)}" for k, v in rope.items() if rope != {"rope_type": "default"}]
    print(*meta, "=>", f"{scale:.9g}", *(f"{v:.9g}" for v in inv.tolist()))


def yarn(theta, context, head, original, **more):
    case(theta, context, head, rope_type="yarn", original_max_position_embeddings=original, **more)


def main():
    case(10000, 2048, 64, rope_type="default")
    case(1000000000, 131072, 128, rope_type="default")
    case(10000, 8192, 64, rope_type="linear", factor=4.0)
    case(500000, 131072, 64, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
         original_max_position_embeddings=8192)
    case(500000, 131072, 128, rope_type="llama3", factor=32.0, low_freq_factor=1.0,
         high_freq_factor=4.0, original_max_position_embeddings=8192)
    yarn(10000, 65536, 128, 4096, factor=16.0)
    yarn(1000000, 131072, 128, 32768, factor=4.0)  # Qwen2.5 and Qwen3
    yarn(150000, 131072, 64, 4096, factor=32.0, beta_fast=32.0, beta_slow=1.0, truncate=False)  # gpt-oss
    yarn(10000, 163840, 64, 4096, factor=40.0, beta_fast=32, beta_slow=1, mscale=1.0,
         mscale_all_dim=1.0)  # DeepSeek-V3
    yarn(10000, 163840, 64, 4096, factor=40.0, beta_fast=32, beta_slow=1, mscale=0.707,
         mscale_all_dim=0.9)
    yarn(10000, 163840, 64, 4096, factor=40.0, mscale=0.707)
    yarn(100000000, 393216, 128, 8192, factor=48.0, beta_fast=32.0, beta_slow=1.0, mscale=1.0,
         mscale_all_dim=1.0)  # Mistral's yarn
    yarn(10000, 8192, 32, 2048, factor=4.0, attention_factor=1.25, beta_fast=16, beta_slow=2)
    yarn(10000, 8192, 32, 2048, factor=0.5)
    yarn(500, 64, 16, 16, factor=4.0)  # high is below low: all pairs on one side
    yarn(10000, 128, 8, 8, factor=16.0, truncate=False)
    short = [1 + 0.03 * j for j in range(24)]
    long = [1.05 + 1.9 * j for j in range(24)]
    for context in (131072, 4096):
        for more in ({}, {"attention_factor": 1.19}, {"factor": 8.0}):
            case(10000, context, 48, seq_len=context, rope_type="longrope", short_factor=short,
                 long_factor=long, original_max_position_embeddings=4096, **more)


main()
