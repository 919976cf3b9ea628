"""Golden embeddings (tests/oracle/make_embedding_golden.py) and what mtk embed prints.

texts GOLDEN          JSON lines for mtk embed
check GOLDEN LINES    the same vectors: cosine > 0.999999, no value off by more than 1e-5
order LINES           of the golden's first texts: those that mean the same are nearer than those that do not
Standard library only.
"""
import array
import base64
import json
import math
import sys


def texts_of(path):
    golden = json.load(open(path))
    return golden if isinstance(golden, list) else golden["texts"]


def vector(row):
    if isinstance(row["embedding"], list):
        return row["embedding"]
    return array.array("f", base64.b64decode(row["embedding"])).tolist()


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def lines(path):
    return [json.loads(line) for line in open(path)]


def check(golden, got_path):
    want, got = texts_of(golden), lines(got_path)
    worst, least = 0.0, 1.0
    for i, (w, g) in enumerate(zip(want, got, strict=True)):
        if g["index"] != i or g["n_tokens"] != w.get("n_tokens", len(w.get("ids", []))):
            sys.exit(f"FAILED: text {i}: {g['n_tokens']} tokens, index {g['index']}")
        a, b = vector(w), vector(g)
        worst = max(worst, max(abs(x - y) for x, y in zip(a, b, strict=True)))
        least = min(least, cosine(a, b))
    print(f"  {len(want)} texts: largest difference {worst:.1e}, least cosine {least:.9f}")
    if not (worst < 1e-5 and least > 0.999999):
        sys.exit("FAILED: the vectors are not transformers'")


def order(path):
    v = [vector(row) for row in lines(path)]
    near = cosine(v[0], v[1])  # eating food, eating bread
    far = max(cosine(v[0], v[i]) for i in range(2, 8))
    print(f"  similar sentences {near:.3f}, others at most {far:.3f}")
    if not near > far + 0.2:
        sys.exit("FAILED: sentences that mean the same are not nearer than others")


def main(args):
    if args[0] == "texts":
        for row in texts_of(args[1]):
            print(json.dumps({k: row[k] for k in ("text", "ids") if k in row}))
    else:
        {"check": check, "order": order}[args[0]](*args[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
