#!/usr/bin/env python3
"""Speed of `mtk tokenize` beside the `tokenizers` package, one thread each, on one text.

usage: compare_tokenizers.py MTK TEXT TOKENIZER.json...

Processor time, best of three. Loading is left out: mtk is timed on the text once and nine times over and
the difference taken, with the printing of the ids in it; the package by its encode of the same text, once
warm.
Prints for each tokenizer megabytes per second and the ratio (above 1: mtk is faster).
"""
import os
import subprocess
import sys
import tempfile

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def best(run):
    """Seconds of processor time of this process and its children."""
    times = []
    for _ in range(3):
        start = sum(os.times()[:4])
        run()
        times.append(sum(os.times()[:4]) - start)
    return min(times)


def main():
    import tokenizers
    mtk, text_path, *paths = sys.argv[1:]
    with open(text_path, encoding="utf-8", newline="") as f:
        text = f.read()
    size = len(text.encode()) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        nine = os.path.join(folder, "nine")
        with open(nine, "w", encoding="utf-8", newline="") as f:
            f.write(text * 9)
        for path in paths:
            def once(file):
                subprocess.run([mtk, "tokenize", path, "--file", file, "--special", "--no-bos"], check=True,
                               stdout=subprocess.DEVNULL)
            mine = (best(lambda: once(nine)) - best(lambda: once(text_path))) / 8
            reference = tokenizers.Tokenizer.from_file(path)
            reference.no_truncation()
            reference.encode(text, add_special_tokens=False)
            theirs = best(lambda: reference.encode(text, add_special_tokens=False))
            print(f"{path}: mtk {size / mine:.1f} MB/s, tokenizers {tokenizers.__version__} {size / theirs:.2f} MB/s, "
                  f"ratio {theirs / mine:.1f}", flush=True)


if __name__ == "__main__":
    main()
