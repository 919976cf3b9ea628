#!/usr/bin/env python3
"""Seeds for the fuzz targets of formats/gguf and formats/hf: small valid files that reach every
part of the parsers. Standard library only.

  make_format_corpus.py SOURCE_ROOT
"""
import json
import pathlib
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODE = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q",
        I64: "q", F64: "d"}


def text(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        item, items = v
        return struct.pack("<IQ", item, len(items)) + b"".join(value(item, x) for x in items)
    return struct.pack("<" + CODE[kind], v)


def gguf(kvs, tensors=(), version=3, align=32):
    """tensors: (name, dims innermost first, type, bytes)"""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(kvs))
    for key, kind, v in kvs:
        out += text(key) + struct.pack("<I", kind) + value(kind, v)
    at = 0
    for name, dims, kind, data in tensors:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        out += struct.pack("<IQ", kind, at)
        at += -(-len(data) // align) * align
    out += b"\0" * (-len(out) % align)
    for _, _, _, data in tensors:
        out += data + b"\0" * (-len(data) % align)
    return out


def gguf_seeds():
    arch = ("general.architecture", STRING, "llama")
    yield "header", gguf([])
    yield "v2", gguf([arch], [("w", [4], 0, bytes(16))], version=2)
    yield "scalars", gguf([(f"k{k}", k, 1) for k in CODE] + [("s", STRING, "x")])
    yield "arrays", gguf([("a", ARRAY, (U8, [1, 2])), ("s", ARRAY, (STRING, ["p", "q"])),
                          ("n", ARRAY, (ARRAY, [(I32, [1]), (I32, [])])), ("e", ARRAY, (U32, []))])
    yield "align", gguf([("general.alignment", U32, 8)], [("w", [3], 0, bytes(12)),
                                                          ("v", [1], 0, bytes(4))], align=8)
    yield "types", gguf([arch], [(f"t{k}", [32, 2], k, bytes(n)) for k, n in
                                 ((0, 256), (1, 128), (2, 36), (3, 40), (8, 68), (24, 64),
                                  (25, 128), (26, 256), (27, 512), (28, 512), (30, 128), (39, 34))])
    blocks = {6: 176, 7: 192, 9: 288, 10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 15: 292, 16: 66,
              17: 74, 18: 98, 19: 50, 20: 144, 21: 110, 22: 82, 23: 136, 29: 56, 34: 54, 35: 66,
              39: 136, 40: 144, 41: 36, 42: 72}  # bytes of 256 elements
    yield "blocks", gguf([arch], [(f"b{k}", [256, 1], k, bytes((i * 37 + k) % 256 for i in range(n)))
                                  for k, n in blocks.items()])
    yield "experts", gguf([arch], [("x_exps.weight", [64, 2, 3], 40, bytes(216)),
                                   ("x_exps.scale", [3], 0, bytes(12)),
                                   ("x_exps.input_scale", [3], 0, bytes(12))])
    yield "split2", gguf([("split.no", U16, 1), ("split.count", U16, 3),
                          ("split.tensors.count", I32, -1)], [("w", [4], 0, bytes(16))])
    yield "nvfp4", gguf([arch], [("x.weight", [64, 1], 40, bytes(36)),
                                 ("x.scale", [1], 0, bytes(4)),
                                 ("x.input_scale", [1], 0, bytes(4))])
    yield "widened", gguf([arch, ("mtk.widened.bf16", ARRAY, (STRING, ["n"]))],
                          [("n", [4], 0, bytes(16))])
    yield "vocab", gguf([arch, ("tokenizer.ggml.model", STRING, "gpt2"),
                         ("tokenizer.ggml.pre", STRING, "llama-bpe"),
                         ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "ab", "</s>"])),
                         ("tokenizer.ggml.token_type", ARRAY, (I32, [1, 1, 1, 3])),
                         ("tokenizer.ggml.scores", ARRAY, (F32, [0, 0, 0, 0])),
                         ("tokenizer.ggml.merges", ARRAY, (STRING, ["a b"])),
                         ("tokenizer.ggml.eos_token_id", U32, 3),
                         ("tokenizer.ggml.add_bos_token", BOOL, False),
                         ("tokenizer.chat_template", STRING, "{{ x }}"),
                         ("tokenizer.chat_template.tool", STRING, "{{ y }}")])
    yield "spm", gguf([arch, ("tokenizer.ggml.model", STRING, "llama"),
                       ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a"]))])
    yield "adapter", gguf([arch, ("general.type", STRING, "adapter"),
                           ("adapter.type", STRING, "lora"),
                           ("adapter.lora.alpha", F32, 4)],
                          [("w.lora_a", [3, 2], 0, bytes(24)), ("w.lora_b", [2, 5], 0, bytes(40))])
    yield "split", gguf([("split.count", U16, 2)])
    yield "attached", gguf([("mtk.attachment.LICENSE", STRING, "free"),
                            ("mtk.hparam.rope.scaling.type", STRING, "llama3"),
                            ("mtk.provenance", STRING, "{}"), ("llama.x", U32, 1), arch],
                           [("rope_freqs.weight", [2], 0, bytes(8))])
    yield "hparams", gguf([arch] + [(f"llama.{k}", U32, v) for k, v in
                                    (("block_count", 1), ("embedding_length", 8),
                                     ("context_length", 16), ("feed_forward_length", 8),
                                     ("attention.head_count", 2), ("attention.head_count_kv", 2))] +
                          [("llama.attention.layer_norm_rms_epsilon", F32, 1e-5)],
                          [("token_embd.weight", [8, 4], 0, bytes(128))])


def safetensors(header, data=b"", pad=0):
    head = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    head = head.encode() + b" " * pad
    return struct.pack("<Q", len(head)) + head + data


def entries(*rows):
    """rows: (name, dtype, shape, size)"""
    out, at = {}, 0
    for name, dtype, shape, size in rows:
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return out, bytes(at)


def hf_seeds():
    yield "empty", safetensors({})
    yield "padded", safetensors(*entries(("a", "F32", [2, 2], 16)), pad=5)
    sizes = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2,
             "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8}
    yield "types", safetensors(*entries(*((k, k, [3], 3 * n) for k, n in sizes.items())))
    yield "shapes", safetensors(*entries(("s", "F32", [], 4), ("z", "F32", [0, 2], 0),
                                         ("d", "U8", [1, 2, 1, 2, 1, 2], 8)))
    header, data = entries(("a", "F32", [1], 4))
    header["__metadata__"] = {"format": "pt", "mtk.meta.general.name": "string:x",
                              "mtk.meta.kv.n": "i32:-4", "mtk.meta.kv.l": 'strings:["a","b"]',
                              "mtk.provenance": "{}"}
    yield "metadata", safetensors(header, data)
    header, data = entries(
        ("m.weight_packed", "U8", [1, 32], 32), ("m.weight_scale", "F8_E4M3", [1, 4], 4),
        ("m.weight_global_scale", "F32", [1], 4), ("m.input_global_scale", "F32", [1], 4))
    yield "nvfp4", safetensors(header, data[:-8] + struct.pack("<ff", 2, 4))
    yield "modelopt", safetensors(*entries(
        ("m.weight", "U8", [1, 32], 32), ("m.weight_scale", "F8_E4M3", [1, 4], 4),
        ("m.weight_scale_2", "F32", [], 4), ("m.input_scale", "F32", [], 4)))
    yield "mxfp4", safetensors(*entries(("m.weight_packed", "U8", [2, 16], 32),
                                        ("m.weight_scale", "U8", [2, 1], 2)))
    yield "fp8", safetensors(*entries(
        ("t.weight", "F8_E4M3", [2, 4], 8), ("t.weight_scale", "F32", [1], 4),
        ("c.weight", "F8_E4M3", [2, 4], 8), ("c.weight_scale", "BF16", [2, 1], 4),
        ("b.weight", "F8_E4M3", [2, 129], 258), ("b.weight_scale_inv", "F32", [1, 2], 8),
        ("x.weight", "F8_E4M3", [1, 32], 32), ("x.weight_scale", "U8", [1, 1], 1)))
    yield "int4", safetensors(*entries(("m.weight_packed", "I32", [1, 1], 4),
                                       ("m.weight_scale", "F32", [1], 4)))
    header, data = entries(
        ("i.weight", "I8", [2, 32], 64), ("i.weight_scale", "F16", [2, 1], 4),
        ("z.weight_packed", "I32", [2, 8], 64), ("z.weight_scale", "BF16", [2, 2], 8),
        ("z.weight_zero_point", "I32", [1, 2], 8), ("z.weight_g_idx", "I32", [64], 256),
        ("t.weight_packed", "I32", [1, 3], 12), ("t.weight_scale", "F32", [1], 4))
    header["z.weight_shape"] = {"dtype": "I64", "shape": [2],
                                "data_offsets": [len(data), len(data) + 16]}
    data += struct.pack("<2q", 2, 64)
    header["t.weight_shape"] = {"dtype": "I32", "shape": [2],
                                "data_offsets": [len(data), len(data) + 8]}
    data += struct.pack("<2i", 1, 32)
    at = header["z.weight_g_idx"]["data_offsets"][0]
    data = data[:at] + struct.pack("<64i", *(i // 32 for i in range(64))) + data[at + 256:]
    yield "ints", safetensors(header, data)
    yield "grids", safetensors(*entries(
        ("p.weight", "F8_E4M3", [2, 129], 258), ("p.weight_scale", "F32", [1, 1, 2, 1], 8),
        ("q.weight", "U8", [1, 32], 32), ("q.weight_scale", "F8_E4M3", [1, 2], 2),
        ("q.weight_scale_2", "F32", [], 4), ("q.weight_zero_point", "U8", [1], 1)))
    yield "spaces", safetensors('  {"a" : {"shape":[1], "data_offsets":[0,1], "dtype":"U8"}}', b"x")


def main():
    root = pathlib.Path(sys.argv[1]) / "formats"
    for name, seeds in (("gguf", gguf_seeds()), ("hf", hf_seeds())):
        folder = root / name / "corpus"
        folder.mkdir(exist_ok=True)
        for seed, data in seeds:
            (folder / seed).write_bytes(data)


if __name__ == "__main__":
    main()
