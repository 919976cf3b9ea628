#!/usr/bin/env python3
"""Is any batch size slower in mtk than in llama.cpp? Batches of 1 to 512 tokens of one sequence, logits of the last.

    compare_batches.py [OPTIONS] TYPE | FILE.gguf...

A TYPE has random weights in the shape of SmolLM2 and of one layer of the 8b shape (compare_llama.py, which also says
what is needed and how both run). Rounds take turns; in each the median of some runs of mtk and the best of as many of
llama.cpp, with and without flash attention; medians of the rounds. Rows go to OUT.csv at once, and what is in there is
not measured again. Ratios above 1: mtk is faster.
"""
import argparse
import pathlib
import statistics
import tempfile
import time

from compare_llama import HERE, Llama, check_build, check_types, jobs, mtk_bench, write_model
from results import append, load

SIZES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
COLUMNS = ["model", "type", "threads", "tokens", "mtk", "llama", "ratio", "rounds"]


def by_mtk(a, path, threads):
    """size -> tokens/s"""
    runs = mtk_bench(a.mtk, path, threads, "-p", ",".join(map(str, SIZES)), "-n", 1, "-r", a.runs)
    return {size: r["prompt_tokens_per_s"] for size, r in zip(SIZES, runs)}


def by_llama(llama, runs, flash):
    ctx, rates = llama.context(1, flash), {}
    memory = llama.low.llama_get_memory(ctx)
    for size in SIZES:
        entries = [(llama.token(0, i), i, 0, i == size - 1) for i in range(size)]
        seconds = []
        for _ in range(runs + 1):
            llama.low.llama_memory_clear(memory, True)
            start = time.perf_counter()
            llama.decode(ctx, entries)
            seconds.append(time.perf_counter() - start)
        rates[size] = size / min(seconds[1:])
    llama.low.llama_free(ctx)
    return rates


def compare(a, model, kind, path, threads):
    llama = Llama(path, threads)
    ours, theirs = [], []
    for _ in range(a.rounds):
        ours.append(by_mtk(a, path, threads))
        rates = [by_llama(llama, a.runs, flash) for flash in (False, True)]
        theirs.append({size: max(r[size] for r in rates) for size in SIZES})
    llama.close()
    for size in SIZES:
        x, y = (statistics.median(r[size] for r in side) for side in (ours, theirs))
        yield {"model": model, "type": kind, "threads": threads, "tokens": size, "mtk": f"{x:.4g}", "llama": f"{y:.4g}",
               "ratio": f"{x / y:.3f}", "rounds": a.rounds}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("types", nargs="+", metavar="TYPE|FILE.gguf")
    p.add_argument("--mtk", default=str(HERE.parents[1] / "build/release/bin/mtk"))
    p.add_argument("--out", default="batches", help="writes OUT.csv [batches]")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--runs", type=int, default=3, help="of every size in a round [3]")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    check_types(p, a.types)
    check_build()
    a.shapes, a.layers = ("smollm2", "8b"), 1
    out = pathlib.Path(a.out + ".csv")
    for model, kind, path, recipe in jobs(a):
        if (model, kind, str(a.threads)) in {(r["model"], r["type"], r["threads"]) for r in load(out)}:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows = list(compare(a, model, kind, path or write_model(folder, kind, *recipe), a.threads))
        append(out, COLUMNS, rows)
        print(f"{model}, {kind}: " + ", ".join(f"{r['tokens']} {r['ratio']}" for r in rows), flush=True)


if __name__ == "__main__":
    main()
