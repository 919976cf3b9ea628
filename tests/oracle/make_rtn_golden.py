#!/usr/bin/env python3
"""Golden file of plugin quant-weights: make_rtn_golden.py > tests/golden/rtn.txt

The formulas of ModelOpt (NVFP4), DeepSeek (FP8 blocks) and per-tensor FP8 in numpy float32,
rounding through ml_dtypes. Needs numpy and ml_dtypes (tried with 2.2 and 0.5).
The input is computed, not stored: see sample(). Lines: target, sha256 of the encoded rows, scales
as f32 bits.
"""
import hashlib

import ml_dtypes
import numpy as np

f32 = np.float32
E4M3 = ml_dtypes.float8_e4m3fn
E2M1 = ml_dtypes.float4_e2m1fn


def sample():
    """130 x 192: cubes of hashed numbers in [-1, 1), with rows of zeros, small, and huge values."""
    u = (np.arange(130 * 192, dtype=np.uint64) * 2654435761 + 12345) % 2**32
    t = (u >> 8).astype(f32) * f32(2.0**-23) - f32(1)
    x = (t * t * t).reshape(130, 192)
    x[1] = 0
    x[2] *= f32(2.0**-13)
    x[3, :16] = 0
    x[4, 5] = 37.5
    x[5, ::3] = -0.0
    return x


def e4m3(v):
    return np.clip(v, -448, 448).astype(f32).astype(E4M3)


def nvfp4(x):
    s2 = f32(np.abs(x).max()) / f32(2688)
    blocks = x.reshape(-1, 16)
    amax = np.abs(blocks).max(axis=1)
    scale = amax / (f32(6) * s2)
    scale[scale == 0] = 1
    sb = e4m3(np.clip(scale, f32(2.0**-9), f32(448)))
    d = sb.astype(f32) * s2
    q = np.clip(blocks / d[:, None], -6, 6).astype(E2M1).view(np.uint8) & 15
    out = bytearray()
    for i in range(0, len(blocks), 4):  # 64 values: 4 scales, then 4 times 8 bytes
        out += sb[i:i + 4].view(np.uint8).tobytes()
        for sub in q[i:i + 4]:
            out += bytes(int(sub[j]) | int(sub[8 + j]) << 4 for j in range(8))
    return np.array([s2]), bytes(out)


def fp8(x, n, k):
    rows, cols = x.shape
    scales = []
    q = np.zeros_like(x, dtype=np.uint8)
    for r in range(0, rows, n):
        for c in range(0, cols, k):
            block = x[r:r + n, c:c + k]
            s = f32(np.abs(block).max()) / f32(448)
            s = s if s > 0 else f32(1)
            q[r:r + n, c:c + k] = e4m3(block / s).view(np.uint8)
            scales.append(s)
    return np.array(scales, dtype=f32), q.tobytes()


def show(name, result):
    scales, data = result
    print(name, hashlib.sha256(data).hexdigest(),
          *(f"{v:08x}" for v in scales.astype(f32).view(np.uint32)))


def main():
    x = sample()
    show("nvfp4", nvfp4(x))
    show("fp8", fp8(x, *x.shape))
    show("fp8-block", fp8(x, 128, 128))


main()
