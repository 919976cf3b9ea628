#!/usr/bin/env python3
"""Prompt and generation speed of one GGUF in mtk and in llama.cpp, interleaved, medians.

    compare_llama.py MTK MODEL.gguf [ROUNDS]      (needs llama-cpp-python)
"""
import json
import statistics
import subprocess
import sys
import time

import llama_cpp

PROMPT, GENERATE = 512, 64


def mtk_rates(binary, model, threads):
    out = subprocess.run([binary, "bench", model, "-p", str(PROMPT), "-n", str(GENERATE), "-r", "1",
                          "-t", str(threads), "--json", "-q"], check=True, capture_output=True)
    run = json.loads(out.stdout)["runs"][0]
    return run["prompt_tokens_per_s"], run["generated_tokens_per_s"]


def llama_rates(llm, ids):
    llm.reset()
    start = time.perf_counter()
    llm.eval(ids)
    middle = time.perf_counter()
    for i in range(GENERATE):
        llm.eval([ids[i]])
    end = time.perf_counter()
    return PROMPT / (middle - start), GENERATE / (end - middle)


def main():
    binary, model = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    ids = [(i * 7919) % 40000 + 100 for i in range(PROMPT)]
    print(f"llama-cpp-python {llama_cpp.__version__}, {model}, medians of {rounds}, interleaved")
    for threads in (1, 2):
        llm = llama_cpp.Llama(model, n_ctx=1024, n_batch=512, n_threads=threads,
                              n_threads_batch=threads, verbose=False)
        llama_rates(llm, ids)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(mtk_rates(binary, model, threads))
            theirs.append(llama_rates(llm, ids))
        for k, what in enumerate(("prompt", "generate")):
            a = statistics.median(r[k] for r in ours)
            b = statistics.median(r[k] for r in theirs)
            print(f"{threads} threads, {what}: mtk {a:.1f}, llama.cpp {b:.1f} tokens/s, "
                  f"ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
