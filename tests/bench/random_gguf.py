#!/usr/bin/env python3
"""Writes a GGUF file of a Llama shape with random weights of one ggml type. Only the standard library, numpy and
ggml's own encoder (libggml-base of llama-cpp-python).

    random_gguf.py CONFIG.json TYPE OUT.gguf [--layers N] [--vocab N]

A few encoded rows are drawn and repeated: the values do not matter for speed, only that they are ordinary numbers.
"""
import argparse
import ctypes
import json
import os
import pathlib
import struct

import numpy

GGML_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q2_k": 10, "q3_k": 11,
              "q4_k": 12, "q5_k": 13, "q6_k": 14, "iq4_nl": 20, "iq4_xs": 23, "bf16": 30, "mxfp4": 39, "nvfp4": 40}
BLOCK_256 = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs"}
ALIGNMENT, TILE_ROWS = 32, 64


def ggml():
    import llama_cpp.llama_cpp as low
    lib = ctypes.CDLL(os.path.join(os.path.dirname(low.__file__), "lib", "libggml-base.so"))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + \
        [ctypes.c_void_p]
    lib.ggml_row_size.restype = ctypes.c_size_t
    lib.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    return lib


def encoded_row(lib, kind, k):
    """The bytes of TILE_ROWS rows of k values one after the other."""
    rng = numpy.random.default_rng(1)
    # nvfp4 has no exponent range below 2^-9 for its scales, and a GGUF need not carry a scale beside them.
    sigma = 0.1 if kind == "nvfp4" else k ** -0.5
    values = (rng.standard_normal((TILE_ROWS, k)) * sigma).astype(numpy.float32)
    out = numpy.empty(lib.ggml_row_size(GGML_TYPES[kind], k) * TILE_ROWS, numpy.uint8)
    lib.ggml_quantize_chunk(GGML_TYPES[kind], values.ctypes.data, out.ctypes.data, 0, TILE_ROWS, k, None)
    return out


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def metadata(c, n_layer, n_vocab):
    head = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    numbers = {"block_count": n_layer, "context_length": c["max_position_embeddings"],
               "embedding_length": c["hidden_size"], "feed_forward_length": c["intermediate_size"],
               "attention.head_count": c["num_attention_heads"], "attention.head_count_kv": c["num_key_value_heads"],
               "rope.dimension_count": head, "vocab_size": n_vocab}
    texts = {"general.architecture": "llama", "general.name": "random", "tokenizer.ggml.model": "no_vocab"}
    floats = {"attention.layer_norm_rms_epsilon": c["rms_norm_eps"], "rope.freq_base": c["rope_theta"]}
    out = [string(key) + struct.pack("<I", 8) + string(v) for key, v in texts.items()]
    out += [string("llama." + key) + struct.pack("<II", 4, v) for key, v in numbers.items()]
    out += [string("llama." + key) + struct.pack("<If", 6, v) for key, v in floats.items()]
    return len(out), b"".join(out)


def tensors(c, n_layer, n_vocab):
    """name -> (rows, columns), rows 0 for a vector."""
    dim, ffn = c["hidden_size"], c["intermediate_size"]
    head = c.get("head_dim") or dim // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    yield "token_embd.weight", (n_vocab, dim)
    for i in range(n_layer):
        for name, shape in (("attn_norm", (0, dim)), ("attn_q", (q, dim)), ("attn_k", (kv, dim)), ("attn_v", (kv, dim)),
                            ("attn_output", (dim, q)), ("ffn_norm", (0, dim)), ("ffn_gate", (ffn, dim)),
                            ("ffn_up", (ffn, dim)), ("ffn_down", (dim, ffn))):
            yield f"blk.{i}.{name}.weight", shape
    yield "output_norm.weight", (0, dim)
    if not c.get("tie_word_embeddings"):
        yield "output.weight", (n_vocab, dim)


def write(path, config, kind, n_layer=None, n_vocab=None):
    c = json.loads(pathlib.Path(config).read_text())
    n_layer, n_vocab = n_layer or c["num_hidden_layers"], n_vocab or c["vocab_size"]
    lib, tiles, infos, at = ggml(), {}, [], 0
    shapes = list(tensors(c, n_layer, n_vocab))
    for name, (rows, k) in shapes:
        size = rows * lib.ggml_row_size(GGML_TYPES[kind], k) if rows else 4 * k
        dims = (k, rows) if rows else (k,)
        infos.append(string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims,
                                                GGML_TYPES[kind] if rows else 0, at))
        at += (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    n_meta, meta = metadata(c, n_layer, n_vocab)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(infos), n_meta) + meta + b"".join(infos)
    with open(path, "wb") as f:
        f.write(header + bytes(-len(header) % ALIGNMENT))
        for name, (rows, k) in shapes:
            if rows:
                if k not in tiles:
                    tiles[k] = encoded_row(lib, kind, k)
                tile = tiles[k]
                size = rows * lib.ggml_row_size(GGML_TYPES[kind], k)
                for begin in range(0, size, len(tile)):
                    f.write(tile[:size - begin].data)
            else:
                size = 4 * k
                f.write(numpy.ones(k, numpy.float32).data)
            f.write(bytes(-size % ALIGNMENT))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("type", choices=GGML_TYPES)
    parser.add_argument("out")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--vocab", type=int)
    a = parser.parse_args()
    write(a.out, a.config, a.type, a.layers, a.vocab)


if __name__ == "__main__":
    main()
