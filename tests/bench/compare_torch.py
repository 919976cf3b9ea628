#!/usr/bin/env python3
"""Training speed of petit's shape in mtk and in PyTorch, interleaved, medians.

    compare_torch.py MTK [ROUNDS]      (Debian: python3-torch; prints which BLAS is loaded)

Both take AdamW steps of about 3,072 tokens (24 sequences of 128) in f32 from random weights.
"""
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

OPENBLAS = "/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3"
if os.path.exists(OPENBLAS) and "LD_PRELOAD" not in os.environ:
    os.environ["LD_PRELOAD"] = OPENBLAS
    os.execv(sys.executable, [sys.executable] + sys.argv)

import torch  # noqa: E402 (after the BLAS is in place)

LAYERS, DIM, HEADS, KV, HEAD, FFN, VOCAB = 4, 128, 4, 2, 32, 384, 512
BATCH, LENGTH, STEPS = 24, 128, 20


def mtk_rate(binary, folder, threads):
    data = pathlib.Path(folder) / "data.jsonl"
    with open(data, "w") as f:
        for s in range(BATCH * STEPS):
            ids = [(s * 131 + i * 17) % VOCAB for i in range(LENGTH + 1)]
            f.write(json.dumps({"ids": ids}) + "\n")
    root = pathlib.Path(__file__).parents[2] / "examples/petit/model"
    out = subprocess.run(
        [binary, "finetune", str(root), "--init", str(root / "config.json"), "--data", str(data),
         "--out", folder + "/out", "--force", "--adapter", "none", "--steps", str(STEPS),
         "--batch-tokens", str(BATCH * (LENGTH + 1)), "--save-every", "0", "--threads",
         str(threads), "--json", "-q"], check=True, capture_output=True, text=True)
    done = json.loads(out.stdout.strip().splitlines()[-1])
    return done["tokens"] / done["seconds"]


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = (torch.nn.Parameter(torch.ones(DIM)) for _ in range(2))
        shapes = {"q": (HEADS * HEAD, DIM), "k": (KV * HEAD, DIM), "v": (KV * HEAD, DIM),
                  "o": (DIM, HEADS * HEAD), "gate": (FFN, DIM), "up": (FFN, DIM),
                  "down": (DIM, FFN)}
        self.w = torch.nn.ParameterDict({n: torch.nn.Parameter(torch.randn(s) / math.sqrt(s[1]))
                                         for n, s in shapes.items()})

    def forward(self, x, cos, sin, mask):
        def norm(v, w):
            return v * torch.rsqrt((v * v).mean(-1, keepdim=True) + 1e-5) * w

        def rope(v):
            a, b = v[..., :HEAD // 2], v[..., HEAD // 2:]
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

        b, t, _ = x.shape
        h = norm(x, self.n1)
        q = rope((h @ self.w["q"].T).view(b, t, HEADS, HEAD).transpose(1, 2))
        k = rope((h @ self.w["k"].T).view(b, t, KV, HEAD).transpose(1, 2))
        v = (h @ self.w["v"].T).view(b, t, KV, HEAD).transpose(1, 2)
        k, v = (z.repeat_interleave(HEADS // KV, 1) for z in (k, v))
        a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(HEAD) + mask, -1) @ v
        x = x + a.transpose(1, 2).reshape(b, t, HEADS * HEAD) @ self.w["o"].T
        h = norm(x, self.n2)
        gated = torch.nn.functional.silu(h @ self.w["gate"].T) * (h @ self.w["up"].T)
        return x + gated @ self.w["down"].T


class Petit(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Parameter(torch.randn(VOCAB, DIM) * 0.02)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.n = torch.nn.Parameter(torch.ones(DIM))

    def forward(self, ids):
        t = ids.shape[1]
        angle = torch.arange(t)[:, None] * 10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD)[None]
        mask = torch.triu(torch.full((t, t), -math.inf), 1)
        x = self.embed[ids]
        for block in self.blocks:
            x = block(x, torch.cos(angle), torch.sin(angle), mask)
        x = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * self.n
        return x @ self.embed.T


def torch_rate(threads):
    torch.set_num_threads(threads)
    model = Petit()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(0, VOCAB, (BATCH, LENGTH + 1))
    for step in range(STEPS + 2):
        if step == 2:
            start = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(
            model(ids[:, :-1]).reshape(-1, VOCAB), ids[:, 1:].reshape(-1))
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
    return BATCH * LENGTH * STEPS / (time.perf_counter() - start)


def main():
    binary = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    blas = "OpenBLAS" if os.path.exists(OPENBLAS) else "whatever BLAS it was linked to"
    print(f"PyTorch {torch.__version__} with {blas}; petit's shape, AdamW, medians of {rounds}")
    for threads in (1, 2):
        ours, theirs = [], []
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(rounds):
                ours.append(mtk_rate(binary, folder, threads))
                theirs.append(torch_rate(threads))
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{threads} threads: mtk {a:.0f}, PyTorch {b:.0f} tokens/s, ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
