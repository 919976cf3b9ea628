"""Small models with pseudo-random weights, made from a golden of tests/golden/arch alone.

make GOLDEN DIR [f32|bf16]   config.json and model.safetensors in DIR
ids GOLDEN                   lines for `mtk eval --score`: all ids, then all but the last followed by each id
                             of the vocabulary
check GOLDEN SCORES          compares what mtk printed with the golden; exit 1 with a message if it differs
same DIR_A DIR_B             tensors of two folders equal byte for byte; every key of A's config.json is in B's

A weight's values are k * 2^-7 * scale with k the bytes (as signed) of splitmix64's outputs, little endian, from
the state fnv1a64(name) + seed; so bf16 holds them exactly. Matrices: scale = 2^round(log2(gain * sqrt(3 / columns)))
with gain 1.5, embeddings 1; vectors that are norms: base + k/8 (towards -inf) * 2^-6; other vectors: k * 2^-9.
Standard library only. See tests/oracle/make_arch_golden.py.
"""
import array
import json
import math
import os
import struct
import sys

MASK = (1 << 64) - 1


def noise(name, seed, n):
    """n signed bytes."""
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & MASK
    state, out = (h + seed) & MASK, bytearray()
    while len(out) < n:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out += struct.pack("<Q", z ^ (z >> 31))
    return array.array("b", bytes(out[:n]))


def values(golden, name, shape):
    n = math.prod(shape)
    k = noise(name, golden["seed"], n)
    if len(shape) == 1 and "norm" in name:
        base = golden["norm_base"]
        return [base + (x >> 3) / 64 for x in k]
    if len(shape) == 1 or name.endswith("bias"):
        return [x / 512 for x in k]
    gain = 1.0 if "embed_tokens" in name else 1.5 * math.sqrt(3 / shape[-1])
    scale = 2.0 ** round(math.log2(gain))
    return [x / 128 * scale for x in k]


def encode(v, dtype):
    data = array.array("f", v).tobytes()
    if dtype == "F32":
        return data
    return b"".join(data[i + 2:i + 4] for i in range(0, len(data), 4))


def write_safetensors(path, golden, dtype):
    header, data = {}, []
    at = 0
    for name, shape in sorted(golden["tensors"].items()):
        raw = encode(values(golden, name, shape), dtype)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def make(golden, folder, dtype="f32"):
    os.makedirs(folder, exist_ok=True)
    config = dict(golden["config"], dtype={"f32": "float32", "bf16": "bfloat16"}[dtype])
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    write_safetensors(os.path.join(folder, "model.safetensors"), golden, dtype.upper())


def print_ids(golden):
    ids = golden["ids"]
    print(json.dumps({"ids": ids}))
    for v in range(golden["config"]["vocab_size"]):
        print(json.dumps({"ids": ids[:-1] + [v]}))


def check(golden, path):
    lines = [json.loads(line) for line in open(path)]
    last = [-line["token_nll"][-1] for line in lines[1:]]
    along = [-x for x in lines[0]["token_nll"]]
    for what, got, want in (("log-probabilities along the prompt", along, golden["along"]),
                            ("log-probabilities of all tokens at its end", last, golden["last"])):
        worst = max(abs(g - w) for g, w in zip(got, want, strict=True))
        top = max(abs(w) for w in want)
        print(f"  {what}: worst difference {worst:.2e}, {worst / top:.1e} of the largest")
        if not worst <= 1e-5 * top:
            sys.exit(f"FAILED: {what} differ from transformers'")


def read_safetensors(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        raw = f.read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    data = raw[8 + n:]
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in header.items()}


def same(a, b):
    one, two = read_safetensors(a), read_safetensors(b)
    if one.keys() != two.keys():
        sys.exit(f"FAILED: tensors only in one: {sorted(one.keys() ^ two.keys())[:4]}")
    for name in one:
        if one[name] != two[name]:
            sys.exit(f"FAILED: {name}: {one[name][:2]} became {two[name][:2]}, or its bytes differ")
    before, after = (json.load(open(os.path.join(d, "config.json"))) for d in (a, b))
    for key in before:
        if before[key] is not None and after.get(key) != before[key]:
            sys.exit(f"FAILED: config.json: {key} was {before[key]}, is {after.get(key)}")


def main(args):
    if args[0] == "same":
        return same(*args[1:])
    golden = json.load(open(args[1]))
    {"make": make, "ids": print_ids, "check": check}[args[0]](golden, *args[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
