"""Perplexities of published GGUF files by llama.cpp, for tests/cli/models_published.sh.

usage: make_published_golden.py WIKI_TEST_RAW NAME=FILE... > tests/golden/published.json

Needs llama-cpp-python. The windows are llama-perplexity's: 512 ids each, BOS (where the model wants one)
in place of the first, the second half scored.
"""
import json
import sys

import llama_cpp
import numpy as np

CTX, CHUNKS = 512, 5


def score(path, text):
    model = llama_cpp.Llama(path, n_ctx=CTX, n_batch=CTX, n_threads=2, logits_all=True, verbose=False)
    wants_bos = model._model.add_bos_token()
    ids = model.tokenize(text, add_bos=wants_bos)
    nll = []
    for c in range(CHUNKS):
        window = list(ids[c * CTX:(c + 1) * CTX])
        if wants_bos:
            window[0] = model.token_bos()
        model.reset()
        model.eval(window)
        logits = np.array(model.scores[:CTX], dtype=np.float64)
        for i in range(CTX // 2, CTX - 1):
            row = logits[i]
            peak = row.max()
            nll.append(peak + np.log(np.exp(row - peak).sum()) - row[window[i + 1]])
    return {"ctx": CTX, "chunks": CHUNKS, "tokens": len(nll), "nll": float(np.mean(nll)),
            "ppl": float(np.exp(np.mean(nll))), "first_ids": list(ids[:64]), "n_ids": len(ids)}


def main():
    text = open(sys.argv[1], "rb").read()
    golden = {"llama_cpp_python": llama_cpp.__version__}
    for pair in sys.argv[2:]:
        name, path = pair.split("=", 1)
        golden[name] = score(path, text)
        print(name, golden[name]["ppl"], file=sys.stderr)
    print("{" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in golden.items()) + "}")


main()
