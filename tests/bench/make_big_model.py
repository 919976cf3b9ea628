#!/usr/bin/env python3
"""Writes a model folder of Mistral Small's shape (24B with 40 layers) with random bf16 weights, in
shards with an index, as fast as the disk takes it. Standard library only.

  make_big_model.py OUT_FOLDER [--layers N] [--shard-gb G]
"""
import argparse
import json
import os
import pathlib
import struct

DIM, HIDDEN, HEADS, HEADS_KV, HEAD_DIM, VOCAB = 5120, 32768, 32, 8, 128, 131072
BLOCK = 32 << 20


def tensors(n_layers):
    yield "model.embed_tokens.weight", (VOCAB, DIM)
    for i in range(n_layers):
        p = f"model.layers.{i}."
        yield p + "self_attn.q_proj.weight", (HEADS * HEAD_DIM, DIM)
        yield p + "self_attn.k_proj.weight", (HEADS_KV * HEAD_DIM, DIM)
        yield p + "self_attn.v_proj.weight", (HEADS_KV * HEAD_DIM, DIM)
        yield p + "self_attn.o_proj.weight", (DIM, HEADS * HEAD_DIM)
        yield p + "mlp.gate_proj.weight", (HIDDEN, DIM)
        yield p + "mlp.up_proj.weight", (HIDDEN, DIM)
        yield p + "mlp.down_proj.weight", (DIM, HIDDEN)
        yield p + "input_layernorm.weight", (DIM,)
        yield p + "post_attention_layernorm.weight", (DIM,)
    yield "model.norm.weight", (DIM,)
    yield "lm_head.weight", (VOCAB, DIM)


def size_of(shape):
    n = 2
    for d in shape:
        n *= d
    return n


def random_block():
    """bf16 values between 2^-7 and 2^-5 of both signs."""
    block = bytearray(2 * BLOCK)
    block[0::2] = os.urandom(BLOCK)
    block[1::2] = os.urandom(BLOCK).translate(bytes((i & 0x80) | 0x3C for i in range(256)))
    return bytes(block)


def shards(items, limit):
    part, size = [], 0
    for item in items:
        n = size_of(item[1])
        if part and size + n > limit:
            yield part
            part, size = [], 0
        part.append(item)
        size += n
    yield part


def write_shard(path, items, block):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in items:
        n = size_of(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        left = at
        while left:
            f.write(block[:left])
            left -= min(left, len(block))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=9)
    parser.add_argument("--shard-gb", type=float, default=5)
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    config = {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
        "hidden_size": DIM, "intermediate_size": HIDDEN, "num_hidden_layers": args.layers,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS_KV, "head_dim": HEAD_DIM,
        "vocab_size": VOCAB, "max_position_embeddings": 32768, "rms_norm_eps": 1e-05,
        "rope_theta": 100000000.0, "sliding_window": None, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16"}
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    items = list(tensors(args.layers))
    parts = list(shards(items, int(args.shard_gb * 1e9)))
    block, names = random_block(), {}
    for i, part in enumerate(parts, 1):
        name = f"model-{i:05}-of-{len(parts):05}.safetensors"
        write_shard(args.out / name, part, block)
        names.update({n: name for n, _ in part})
    index = {"metadata": {"total_size": sum(size_of(s) for _, s in items)},
             "weight_map": dict(sorted(names.items()))}
    (args.out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    print(f"{args.out}: {index['metadata']['total_size'] / 1e9:.2f} GB, {len(parts)} shards")


main()
