"""Divergence of a quantized petit from the original, by transformers in f32.

usage: make_kld_golden.py MTK > tests/golden/kld.json

Needs torch and transformers. mtk only makes the two folders; text, windows, logits and statistics are
computed here. The text is made of the bundled demo's questions.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

CTX = 128
ROOT = pathlib.Path(__file__).parents[2]
BASE = ROOT / "examples/petit/model"


def text():
    rows = [json.loads(line) for line in open(ROOT / "examples/petit/demo/train.jsonl")]
    return "\n".join(m["content"] for r in rows for m in r["messages"])[:8000]


def main():
    mtk, base = sys.argv[1], AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as tmp:
        run = lambda *a: subprocess.run([mtk, *a, "-q"], check=True, stdout=subprocess.DEVNULL)
        run("quantize", str(BASE), tmp + "/q.gguf", "--to", "q4_0")
        run("convert", tmp + "/q.gguf", tmp + "/hf", "--dtype", "f32")
        model = AutoModelForCausalLM.from_pretrained(tmp + "/hf", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    config = json.load(open(BASE / "tokenizer_config.json"))
    ids = tokenizer(text(), add_special_tokens=False)["input_ids"]
    if config.get("add_bos_token"):
        ids = [tokenizer.bos_token_id] + ids
    kld, top, nll, base_nll = [], [], [], []
    for c in range(len(ids) // CTX):
        window = torch.tensor([ids[c * CTX:(c + 1) * CTX]])
        if config.get("add_bos_token"):
            window[0, 0] = tokenizer.bos_token_id
        with torch.no_grad():
            p = torch.log_softmax(base(window).logits[0].double(), -1)
            q = torch.log_softmax(model(window).logits[0].double(), -1)
        for i in range(CTX // 2, CTX - 1):
            target = window[0, i + 1]
            kld.append(float((p[i].exp() * (p[i] - q[i])).sum()))
            top.append(float(p[i].argmax() == q[i].argmax()))
            nll.append(-float(q[i, target]))
            base_nll.append(-float(p[i, target]))
    mean = lambda v: float(torch.tensor(v, dtype=torch.float64).mean())
    k = torch.tensor(kld, dtype=torch.float64)
    json.dump({"text": text(), "ctx": CTX, "tokens": len(kld), "kld": mean(kld),
               "kld_error": float(k.std(unbiased=True) / len(kld) ** 0.5),
               "kld_median": float(k.quantile(0.5)), "kld_p99": float(k.quantile(0.99)),
               "kld_max": float(k.max()), "top1": mean(top),
               "ppl": float(torch.tensor(mean(nll)).double().exp()),
               "base_ppl": float(torch.tensor(mean(base_nll)).double().exp())}, sys.stdout)
    print()


main()
