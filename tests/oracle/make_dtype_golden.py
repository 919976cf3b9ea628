#!/usr/bin/env python3
"""Writes tests/golden/dtype.txt from PyPI's ml_dtypes, numpy and gguf (the package of llama.cpp).

  pip install numpy ml_dtypes gguf
  python3 tests/oracle/make_dtype_golden.py > tests/golden/dtype.txt

Lines (numbers in hexadecimal, floats as their bits):
  encode F32 f16 bf16 e4m3 e5m2 e2m1          one value into every float format
  decode NAME F32...                          all 256 (or 16) codes; NaN as 7fc00000
  sha256 NAME DIGEST                          of all 65536 codes decoded to f32, NaN as +0
  block NAME F32... : BYTES : F32...          input, encoded bytes, and their decoded values
"""
import hashlib

import gguf
import ml_dtypes
import numpy as np

F4, E4M3, E5M2 = ml_dtypes.float4_e2m1fn, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2
E8M0, BF16 = ml_dtypes.float8_e8m0fnu, ml_dtypes.bfloat16


def f32_hex(values):
    bits = np.asarray(values, np.float32).view(np.uint32).copy()
    bits[(bits & 0x7FFFFFFF) > 0x7F800000] = 0x7FC00000
    return " ".join(f"{b:08x}" for b in bits.ravel())


def saturate(x, dtype, limit, nan_code):
    """Nearest even to dtype, beyond the largest value that value; NaN gives nan_code."""
    y = np.clip(x, -limit, limit).astype(dtype).view(np.uint8)
    return np.where(np.isnan(x), np.uint8(nan_code), y)


def e2m1(x):
    return saturate(x, F4, 6.0, 7)


def encode_lines(rng):
    x = [0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.996, 65520, 65536, 6.1e-5, 6e-8, 2.9e-8]
    for dtype, limit in ((E4M3, 0x7F), (E5M2, 0x7C), (F4, 0x8)):
        codes = np.arange(limit, dtype=np.uint8).view(dtype).astype(np.float32)
        middle = (codes[1:] + codes[:-1]) / 2  # the ties, and both neighbours of each
        for v in (codes, middle, np.nextafter(middle, np.float32(9e9)),
                  np.nextafter(middle, np.float32(0))):
            x += list(v)
    x += [464, 464.00003, 480, 61440, 61439.996, 1e30, 2.0**-10, 2.0**-17, 1e-40, 5, 5.0000005]
    x += list(rng.standard_normal(200) * 10.0 ** rng.integers(-9, 6, 200))
    x = np.array(x, np.float32)
    x = np.concatenate([x, -x])
    with np.errstate(over="ignore"):
        f16 = x.astype(np.float16).view(np.uint16)
    columns = zip(x.view(np.uint32), f16, x.astype(BF16).view(np.uint16),
                  saturate(x, E4M3, 448.0, 0x7F), saturate(x, E5M2, 57344.0, 0x7F), e2m1(x))
    for b, h, bf, a, c, d in columns:
        if (b & 0x7FFFFFFF) > 0x7F800000:  # payloads are ours to choose
            h, bf = 0x7E00, 0x7FC0
            b = 0x7FC00000
        print(f"encode {b:08x} {h:04x} {bf:04x} {a:02x} {c:02x} {d:01x}")


def decode_lines():
    codes = np.arange(256, dtype=np.uint8)
    for name, dtype in (("f8_e4m3", E4M3), ("f8_e5m2", E5M2), ("e8m0", E8M0)):
        print("decode", name, f32_hex(codes.view(dtype).astype(np.float32)))
    print("decode e2m1", f32_hex(codes[:16].view(F4).astype(np.float32)))
    for name, dtype in (("f16", np.float16), ("bf16", BF16)):
        values = np.arange(65536, dtype=np.uint16).view(dtype).astype(np.float32)
        values = np.where(np.isnan(values), np.float32(0), values).astype("<f4")
        print("sha256", name, hashlib.sha256(values.tobytes()).hexdigest())


def mxfp4(block):
    """OCP Microscaling Formats v1.0, 6.3: shared exponent floor(log2 amax) - 2."""
    amax = np.abs(block).max()
    e = 0 if amax == 0 else max(0, int(np.floor(np.log2(np.float64(amax)))) - 2 + 127)
    q = e2m1((block.astype(np.float64) / 2.0 ** (e - 127)).astype(np.float32))
    return bytes([e]) + (q[:16] | q[16:] << 4).tobytes()


def nvfp4(block):
    """ModelOpt's formula without the tensor's scale; gguf's nibble order."""
    scales, out = b"", b""
    for sub in block.reshape(4, 16):
        amax = np.abs(sub).max()
        s = np.float32(1) if amax == 0 else np.clip(amax / np.float32(6), 2.0**-9, 448)
        code = np.array([s], np.float32).astype(E4M3)
        q = e2m1(sub / code.astype(np.float32))
        scales += code.tobytes()
        out += (q[:8] | q[8:] << 4).tobytes()
    return scales + out


def block_lines(rng):
    types = gguf.GGMLQuantizationType
    for name, size, kind, own in (("q4_0", 32, types.Q4_0, None), ("q4_1", 32, types.Q4_1, None),
                                  ("q8_0", 32, types.Q8_0, None), ("mxfp4", 32, types.MXFP4, mxfp4),
                                  ("nvfp4", 64, types.NVFP4, nvfp4)):
        for i in range(12):
            x = rng.standard_normal(size) * 10.0 ** rng.integers(-2, 2)
            if i == 0:
                x = np.zeros(size)
            elif i == 1:
                x = np.round(x * 4) / 4  # ties
            elif i == 2:
                x = x * 1e-9
            elif i == 3:  # scale 1, so that the halves are ties
                x = rng.integers(0, 15, size) / 2
                x[0], x[1] = {"q8_0": 127, "q4_0": -8}.get(name, 15), 0
            if name == "q4_1":
                x = x + 0.0  # numpy's minimum of -0 and +0 is either
            x = x.astype(np.float32)
            encoded = own(x) if own else gguf.quantize(x, kind).tobytes()
            decoded = gguf.dequantize(np.frombuffer(encoded, np.uint8), kind)
            print("block", name, f32_hex(x), ":", encoded.hex(), ":", f32_hex(decoded + 0.0))


def main():
    rng = np.random.default_rng(20260)
    encode_lines(rng)
    decode_lines()
    block_lines(rng)


main()
