#!/usr/bin/env python3
"""Writes tests/golden/ggml_types.txt: what ggml itself makes of its storage types.

    python3 tests/oracle/make_ggml_types_golden.py LIBGGML_BASE > tests/golden/ggml_types.txt

LIBGGML_BASE is libggml-base.so of llama.cpp (the llama-cpp-python package has it under
llama_cpp/lib). Where the gguf package has the type too, both must agree. Lines:

    decode TYPE SHA256          f32 values (NaN as 0) of 64 blocks of pseudo-random bytes
    encode TYPE SHA256 SHA256   bytes of the sample rows; without and with importance weights
    codes TYPE HEX...           f32 bits of all codes of a small float type (ml_dtypes)

The library's quantizers must be compiled without contraction of multiplications and additions
(as the package's are for x86-64); a build that contracts gives other bytes for some blocks.
"""
import ctypes
import hashlib
import sys

import gguf
import ml_dtypes
import numpy as np

ROWS, K, BLOCKS = 16, 768, 64
NAMES = {"q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q8_1": 9, "q2_K": 10, "q3_K": 11,
         "q4_K": 12, "q5_K": 13, "q6_K": 14, "q8_K": 15, "iq2_xxs": 16, "iq2_xs": 17,
         "iq3_xxs": 18, "iq1_s": 19, "iq4_nl": 20, "iq3_s": 21, "iq2_s": 22, "iq4_xs": 23,
         "iq1_m": 29, "tq1_0": 34, "tq2_0": 35, "q1_0": 41, "q2_0": 42}
DECODED_ONLY = {"iq2_xxs", "iq2_xs", "iq3_xxs", "iq1_s", "iq3_s", "iq2_s", "iq1_m"}
CODES = {"f4_e2m1": (ml_dtypes.float4_e2m1fn, 16), "f6_e2m3": (ml_dtypes.float6_e2m3fn, 64),
         "f6_e3m2": (ml_dtypes.float6_e3m2fn, 64), "f8_e4m3fnuz": (ml_dtypes.float8_e4m3fnuz, 256),
         "f8_e5m2fnuz": (ml_dtypes.float8_e5m2fnuz, 256)}


def hashed(n, seed):
    return (np.arange(n, dtype=np.uint64) * 2654435761 + seed).astype(np.uint32)


def unit(n, seed):
    """In [-1, 1)."""
    one = np.float32(1)
    return (hashed(n, seed) >> 8).astype(np.float32) * np.float32(2.0**-23) - one


def sample():
    t = unit(ROWS * K, 12345)
    x = (t * t * t).reshape(ROWS, K)
    x[1] = 0
    x[2] *= np.float32(2.0**-20)
    x[3, :48] = 0
    x[4, 5] = 37.5
    x[5] = np.abs(x[5])
    x[6] = -np.abs(x[6])
    x[7, ::3] = -0.0
    x[8] = np.round(x[8] * 4) / 4
    x[9] = 0.5
    x[10] *= np.float32(1000)
    return x


def pointer(a):
    return a.ctypes.data_as(ctypes.c_void_p) if a is not None else None


def decode(lib, name, raw):
    blocks, size = raw.shape
    lib.ggml_blck_size.restype = ctypes.c_int64
    n = blocks * lib.ggml_blck_size(NAMES[name])
    out = np.zeros(n, np.float32)
    if name == "q8_1":  # ggml never decodes it
        d = raw[:, :2].copy().view(np.float16).astype(np.float32)
        return (raw[:, 4:].view(np.int8).astype(np.float32) * d).reshape(-1)
    fn = getattr(lib, "dequantize_row_" + name)
    fn.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    fn.restype = None
    fn(pointer(raw), pointer(out), n)
    return out


def encode(lib, name, x, importance):
    lib.ggml_type_size.restype = ctypes.c_size_t
    out = np.zeros(x.size // lib.ggml_blck_size(NAMES[name]) * lib.ggml_type_size(NAMES[name]),
                   np.uint8)
    if name in ("q8_1", "q8_K"):  # no ggml_quantize_chunk for these
        fn = getattr(lib, f"quantize_row_{name}_ref")
        fn.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        fn(pointer(x), pointer(out), x.size)
        return out
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                                        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                                        ctypes.c_void_p]
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk(NAMES[name], pointer(x), pointer(out), 0, ROWS, K, pointer(importance))
    return out


def sha(a):
    return hashlib.sha256(a.tobytes()).hexdigest()


def same_in_gguf(name, raw, values, x, encoded):
    """The gguf package as a second opinion; it lacks some types and some encoders."""
    kind = getattr(gguf.GGMLQuantizationType, name.upper(), None)
    try:
        other = gguf.quants.dequantize(raw, kind).reshape(-1)
        assert np.array_equal(other, values, equal_nan=True), name
        if encoded is not None:
            other = gguf.quants.quantize(x, kind).reshape(-1)
            assert np.array_equal(other, encoded), name
    except NotImplementedError:
        pass
    except (AttributeError, KeyError):
        pass


def main():
    lib = ctypes.CDLL(sys.argv[1])
    x = sample()
    importance = np.abs(unit(K, 777)) + np.float32(0.0625)
    for name, number in NAMES.items():
        lib.ggml_type_size.restype = ctypes.c_size_t
        size = lib.ggml_type_size(number)
        raw = (hashed(BLOCKS * size, 99) >> 24).astype(np.uint8).reshape(BLOCKS, size)
        values = decode(lib, name, raw)
        plain = None if name in DECODED_ONLY else encode(lib, name, x, None)
        with np.errstate(all="ignore"):
            same_in_gguf(name, raw, values, x, plain)
        print("decode", name.lower(), sha(np.where(np.isnan(values), np.float32(0), values)))
        if plain is not None:
            print("encode", name.lower(), sha(plain), sha(encode(lib, name, x, importance)))
    for name, (kind, n) in CODES.items():
        values = np.arange(n, dtype=np.uint8).view(kind).astype(np.float32)
        print("codes", name, *[f"{v:08x}" for v in values.view(np.uint32).tolist()])


if __name__ == "__main__":
    main()
