#!/usr/bin/env python3
"""Losses of 20 training steps on stories260K by PyTorch: the oracle of tests/unit/test_train.c.

    /usr/bin/python3 make_train_golden.py DATA_DIR OUT      (Debian: python3-torch, python3-numpy)

DATA_DIR is the test data folder (models/stories260K-hf, models/stories260K.nll.json). Writes lines
"full LOSS" and "lora LOSS" for AdamW, f64 arithmetic so that the oracle's own rounding is no matter.
"""
import json
import math
import struct
import sys

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
LAYERS, DIM, HEADS, KV, HEAD = 5, 64, 8, 4, 8
STEPS, SEQ, LR, WARMUP = 20, 64, 1e-3, 4
PROJ = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def load(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + size])
    out = {}
    for name, row in head.items():
        if name != "__metadata__":
            begin, end = row["data_offsets"]
            data = np.frombuffer(raw[8 + size + begin:8 + size + end], "<f4")
            out[name] = torch.tensor(data.reshape(row["shape"]).astype("f8"))
    return out


def philox(seed, stream, index):
    """mtk_uniform: 53 bits of Philox4x32-10."""
    c = [index & 0xffffffff, index >> 32, stream & 0xffffffff, stream >> 32]
    k = [seed & 0xffffffff, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & 0xffffffff, p0 >> 32 ^ c[3] ^ k[1], p0 & 0xffffffff]
        k = [(k[0] + 0x9E3779B9) & 0xffffffff, (k[1] + 0xBB67AE85) & 0xffffffff]
    return ((c[1] << 32 | c[0]) >> 11) * 2.0 ** -53


def rmsnorm(x, w):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w


def rope(x, cos, sin):
    half = HEAD // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def forward(w, lora, ids):
    n = len(ids)

    def proj(x, layer, name):
        full = f"model.layers.{layer}.{name}"
        y = x @ w[full + ".weight"].T
        return y + 2.0 * (x @ lora[full][0].T) @ lora[full][1].T if lora else y

    angle = torch.arange(n)[:, None] * 10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD)[None]
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    mask = torch.triu(torch.full((n, n), -math.inf), 1)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(LAYERS):
        h = rmsnorm(x, w[f"model.layers.{i}.input_layernorm.weight"])
        q = rope(proj(h, i, PROJ[0]).view(n, HEADS, HEAD), cos, sin)
        k = rope(proj(h, i, PROJ[1]).view(n, KV, HEAD), cos, sin)
        v = proj(h, i, PROJ[2]).view(n, KV, HEAD)
        k, v = (t.repeat_interleave(HEADS // KV, 1) for t in (k, v))
        s = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(HEAD) + mask
        o = torch.einsum("hqk,khd->qhd", torch.softmax(s, -1), v).reshape(n, DIM)
        x = x + proj(o, i, PROJ[3])
        h = rmsnorm(x, w[f"model.layers.{i}.post_attention_layernorm.weight"])
        gate, up = proj(h, i, PROJ[4]), proj(h, i, PROJ[5])
        x = x + proj(torch.nn.functional.silu(gate) * up, i, PROJ[6])
    x = rmsnorm(x, w["model.norm.weight"])
    return x @ w["model.embed_tokens.weight"].T


def make_lora(w):
    """A ~ U(-1/sqrt k, 1/sqrt k) as mtk draws it (seed 7), B = 0; r = 4. Streams count A, B by turns
    in the order in which the graph meets the projections."""
    lora, stream = {}, 0
    for i in range(LAYERS):
        for name in PROJ:
            full = f"model.layers.{i}.{name}"
            n, k = w[full + ".weight"].shape
            a = [(2 * philox(7, stream, e) - 1) / math.sqrt(k) for e in range(4 * k)]
            lora[full] = (torch.tensor(np.array(a, "f4").astype("f8").reshape(4, k)),
                          torch.zeros(n, 4))
            stream += 2
    return lora


def train(data, mode, batches):
    w = load(data + "/models/stories260K-hf/model.safetensors")
    lora = make_lora(w) if mode == "lora" else None
    if lora:
        matrices, vectors = [t for pair in lora.values() for t in pair], []
    else:
        matrices = [t for t in w.values() if t.dim() == 2]
        vectors = [t for t in w.values() if t.dim() == 1]
    for t in matrices + vectors:
        t.requires_grad_()
    opt = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                             {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.95), eps=1e-8)
    for step in range(STEPS):
        p = (step - WARMUP) / (STEPS - WARMUP)
        factor = (step + 1) / WARMUP if step < WARMUP else 0.5 * (1 + math.cos(math.pi * p))
        for group in opt.param_groups:
            group["lr"] = LR * factor
        losses = [torch.nn.functional.cross_entropy(forward(w, lora, s[:-1]), s[1:], reduction="sum")
                  for s in batches[step]]
        loss = sum(losses) / sum(len(s) - 1 for s in batches[step])
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(matrices + vectors, 1.0)
        opt.step()
        yield loss.item()


def main():
    data, out = sys.argv[1:]
    cases = json.load(open(data + "/models/stories260K.nll.json"))["cases"]
    ids = [i for c in cases for i in c["token_ids"]]
    # step s: three sequences of 64, 48 and 32 tokens from a moving start
    batches = [[torch.tensor(ids[(s * 37 + 11 * j) % 500:][:SEQ - 16 * j]) for j in range(3)]
               for s in range(STEPS)]
    with open(out, "w") as f:
        for mode in ("full", "lora"):
            for loss in train(data, mode, batches):
                f.write(f"{mode} {loss:.12f}\n")


if __name__ == "__main__":
    main()
