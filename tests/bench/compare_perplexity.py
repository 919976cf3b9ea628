#!/usr/bin/env python3
"""Is the error of mtk's arithmetic, type by type, as small as llama.cpp's? On the same file and text.

    compare_perplexity.py [OPTIONS] [TYPE]...      (default: all types)

Needs llama-cpp-python and gguf. From SmolLM2 (scripts/fetch-model.sh smollm2), `mtk quantize` makes a file of each
type, with embedding and head (nvfp4: without). Types with blocks of 256 do not fit its rows of 576: for them all is
first padded with zeros to 768 and the norms' weights are scaled so that the model computes the same as before.

Four evaluations of each file: exact (llama_f64.py: float64 over weights that the gguf package decodes; nvfp4, whose
scale tensors it does not know, is taken from mtk's a32), mtk's a32 (activations not rounded), mtk's default
arithmetic, llama.cpp. Columns: perplexity over 5 windows of 512 as llama-perplexity counts it, and the error of each
against exact: the root mean square of the difference in nats over the tokens of windows of 64 ids; the ratio of the
errors of mtk's default and llama.cpp, and its standard error over windows. Rows go to OUT.csv at once; what is there
is not computed again; OUT.md at the end.
"""
import argparse
import json
import math
import os
import pathlib
import struct
import tempfile

import numpy

import llama_f64
from random_gguf import BLOCK_256, GGML_TYPES
from results import append, load, run

HERE = pathlib.Path(__file__).resolve().parent
CTX, CHUNKS, SHORT = 512, 5, 64
DIM, PADDED = 576, 768
WIDER = {576: 768, 192: 256}  # 9 heads of 64 on 3 become 12 on 4; the three more are zero
WITHOUT_EMBEDDING = {"nvfp4"}  # llama.cpp does not know the scale of an embedding
SCALED = {"nvfp4"}  # by tensors of their own
COLUMNS = ["type", "rows", "exact_ppl", "mtk_ppl", "llama_ppl", "a32_error", "mtk_error", "llama_error", "ratio",
           "ratio_se"]


# ---- files ---------------------------------------------------------------------------------------

def pad(folder):
    """Widens the residual stream and adds heads to SmolLM2's folder (one safetensors file of f32): all zeros."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header, out, chunks, at = json.loads(data[8:8 + n]), {}, [], 0
    for name, t in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + n + o for o in t["data_offsets"])
        x = numpy.frombuffer(data[begin:end], numpy.float32).reshape(t["shape"])
        if x.ndim == 1:  # a norm divides by the root of a mean over more values
            x = x * numpy.float32(math.sqrt(DIM / PADDED))
        widths = [(0, WIDER.get(d, d) - d) for d in x.shape]
        x = numpy.ascontiguousarray(numpy.pad(x, widths))
        out[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        chunks.append(x.tobytes())
        at += x.nbytes
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))
    config = json.loads((folder / "config.json").read_text())
    config.update(hidden_size=PADDED, head_dim=64, num_attention_heads=12, num_key_value_heads=4)
    config["rms_norm_eps"] *= DIM / PADDED
    (folder / "config.json").write_text(json.dumps(config))


def source(a, folder, padded):
    path = folder / ("padded" if padded else "plain")
    if not path.exists():
        run(a.mtk, "convert", a.model, path, "--dtype", "f32", "-q")
        if padded:
            pad(path)
    return path


def make_file(a, folder, kind):
    src, out = source(a, folder, kind in BLOCK_256), folder / f"{kind}.gguf"
    if kind in ("f32", "f16", "bf16"):
        run(a.mtk, "convert", src, out, "--dtype", kind, "-q")
    else:
        whole = () if kind in WITHOUT_EMBEDDING else ("--embeddings",)
        run(a.mtk, "quantize", src, out, "--to", kind, *whole, "--no-verify", "-q")
    return out


# ---- evaluations ---------------------------------------------------------------------------------

def by_mtk(a, path, text, windows, options):
    """Perplexity, and the nats of every token of the windows."""
    ppl = json.loads(run(a.mtk, "eval", path, "--ppl", text, "--ctx", CTX, "--chunks", CHUNKS, "--json", "-q",
                         *options))["ppl"]
    lines = run(a.mtk, "eval", path, "--score", windows, "--json", "-q", *options).splitlines()
    return ppl, numpy.concatenate([json.loads(line)["token_nll"] for line in lines])


def losses(model, ids):
    model.reset()
    model.eval(ids)
    logits = numpy.array(model.scores[:len(ids)], dtype=numpy.float64)
    peak = logits.max(1, keepdims=True)
    total = peak[:, 0] + numpy.log(numpy.exp(logits - peak).sum(1))
    return total[:-1] - logits[numpy.arange(len(ids) - 1), ids[1:]]


def by_llama(a, path, chunks, windows):
    import llama_cpp
    model = llama_cpp.Llama(str(path), n_ctx=CTX, n_batch=CTX, n_threads=a.threads, logits_all=True, verbose=False)
    half = numpy.concatenate([losses(model, c)[CTX // 2:] for c in chunks])
    short = numpy.concatenate([losses(model, w) for w in windows])
    model.close()
    return math.exp(half.mean()), short


def by_float64(path, chunks, windows):
    model = llama_f64.Llama(path)
    return math.exp(model.losses(chunks)[:, CTX // 2:].mean()), model.losses(windows).reshape(-1)


def rms(x):
    return float(numpy.sqrt(numpy.mean(numpy.square(x))))


def ratio_of(mine, theirs, windows):
    """Ratio of two errors, and its standard error: by drawing windows with replacement."""
    m, t = (numpy.square(x).reshape(windows, -1).mean(1) for x in (mine, theirs))
    draws = numpy.random.default_rng(0).integers(0, windows, (1000, windows))
    return rms(mine) / rms(theirs), float(numpy.std(numpy.sqrt(m[draws].mean(1) / t[draws].mean(1))))


def measure(a, folder, kind, chunks, windows):
    path = make_file(a, folder, kind)
    lines = folder / "windows.jsonl"
    lines.write_text("".join(json.dumps({"ids": w}) + "\n" for w in windows))
    threads = ("-t", a.threads)
    exact, floats = by_mtk(a, path, a.text, lines, (*threads, "--activations", "a32"))
    e = floats
    if kind not in SCALED:
        exact, e = by_float64(path, chunks, windows)
    mine, m = by_mtk(a, path, a.text, lines, threads)
    theirs, t = by_llama(a, path, chunks, windows)
    path.unlink()
    ratio, deviation = ratio_of(m - e, t - e, len(windows))
    return {"type": kind, "rows": PADDED if kind in BLOCK_256 else DIM, "exact_ppl": f"{exact:.4f}",
            "mtk_ppl": f"{mine:.4f}", "llama_ppl": f"{theirs:.4f}", "a32_error": f"{rms(floats - e):.2e}",
            "mtk_error": f"{rms(m - e):.2e}", "llama_error": f"{rms(t - e):.2e}",
            "ratio": f"{ratio:.3f}", "ratio_se": f"{deviation:.3f}"}


def split(a):
    """The text as llama-perplexity's chunks, and short windows from what follows them."""
    ids = json.loads(run(a.mtk, "tokenize", a.model, "--file", a.text, "--json"))["ids"]
    start = CTX * CHUNKS
    return ([ids[i:i + CTX] for i in range(0, start, CTX)],
            [ids[i:i + SHORT] for i in range(start, start + SHORT * a.windows, SHORT)])


def markdown(rows):
    names = ["type", "row length", "exact", "mtk", "llama.cpp", "a32: error", "mtk: error", "llama.cpp: error",
             "ratio", "+-"]
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join(["---"] * len(names)) + " |"]
    for r in rows:
        lines.append("| " + " | ".join(r[c] for c in COLUMNS) + " |")
    return "\n".join(lines) + "\n"


def arguments():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    data = pathlib.Path(os.environ.get("MTK_TEST_DATA", "."))
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("types", nargs="*", metavar="TYPE")
    p.add_argument("--mtk", default=str(HERE.parents[1] / "build/release/bin/mtk"))
    p.add_argument("--model", default=cache / "mtk/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    p.add_argument("--text", default=data / "text/wiki.test.raw", help="[$MTK_TEST_DATA/text/wiki.test.raw]")
    p.add_argument("--out", default="perplexity", help="writes OUT.csv and OUT.md [perplexity]")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--windows", type=int, default=64, help="of 64 ids, for the error [64]")
    a = p.parse_args()
    a.types = a.types or list(GGML_TYPES)
    unknown = [t for t in a.types if t not in GGML_TYPES]
    if unknown:
        p.error(f"no such type: {', '.join(unknown)}")
    return a


def main():
    a = arguments()
    out = pathlib.Path(a.out + ".csv")
    chunks, windows = split(a)
    with tempfile.TemporaryDirectory() as folder:
        for kind in a.types:
            if kind in {r["type"] for r in load(out)}:
                continue
            row = measure(a, pathlib.Path(folder), kind, chunks, windows)
            append(out, COLUMNS, [row])
            print(", ".join(f"{k} {v}" for k, v in row.items()), flush=True)
    pathlib.Path(a.out + ".md").write_text(markdown(load(out)))


if __name__ == "__main__":
    main()
