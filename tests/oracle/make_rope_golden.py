#!/usr/bin/env python3
"""Golden file of rotary frequencies: make_rope_golden.py > tests/golden/rope.txt

The rules of transformers (src/transformers/modeling_rope_utils.py) in numpy float32, which
transformers uses too. Needs numpy. Lines: name, then inv_freq of head size 64.
"""
import numpy as np

f32 = np.float32
HEAD = 64


def default(theta):
    return f32(1) / f32(theta) ** (np.arange(0, HEAD, 2, dtype=f32) / f32(HEAD))


def llama3(inv_freq, factor, low, high, length):
    wavelen = f32(2 * np.pi) / inv_freq
    scaled = np.where(wavelen > f32(length / low), inv_freq / f32(factor), inv_freq)
    smooth = (f32(length) / wavelen - f32(low)) / f32(high - low)
    blended = (f32(1) - smooth) * scaled / f32(factor) + smooth * scaled
    medium = ~(wavelen < f32(length / high)) & ~(wavelen > f32(length / low))
    return np.where(medium, blended, scaled)


def main():
    cases = {
        "default": default(10000),
        "linear": default(10000) / f32(4),
        "llama3": llama3(default(500000), 8, 1, 4, 8192),
    }
    for name, values in cases.items():
        print(name, *(f"{v:.9g}" for v in values.tolist()))


main()
