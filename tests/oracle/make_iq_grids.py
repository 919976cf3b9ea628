#!/usr/bin/env python3
"""Writes core/tensor/iq_grids.c: the codebooks of ggml's IQ types, taken from the gguf package.

    python3 tests/oracle/make_iq_grids.py > core/tensor/iq_grids.c

An entry packs the digits of its elements, element 0 lowest: 8 of 2 bits (iq1, iq2), 4 of 4 bits
(iq3). --check compares the committed file instead of printing it.
"""
import pathlib
import sys

from gguf import quants

HEAD = """/* iq_grids.c: codebooks of ggml's IQ types. Made by tests/oracle/make_iq_grids.py from the gguf
 * package; do not edit. An entry packs the digits of its elements, element 0 in the lowest bits:
 * 8 of 2 bits (iq1, iq2) or 4 of 4 bits (iq3). Constant data. */
#include "tensor/iq_grids.h"
"""
TABLES = [("iq2_xxs", quants.IQ2_XXS), ("iq2_xs", quants.IQ2_XS), ("iq2_s", quants.IQ2_S),
          ("iq3_xxs", quants.IQ3_XXS), ("iq3_s", quants.IQ3_S), ("iq1", quants.IQ1_S)]


def entries(cls):
    cls.init_grid()
    grid = cls.grid.reshape(cls.grid_shape)
    bits = 16 // cls.grid_shape[1]
    digit = {v: i for i, v in enumerate(cls.grid_map)}
    return [sum(digit[v] << (bits * j) for j, v in enumerate(row)) for row in grid.tolist()]


def text():
    out = HEAD
    for name, cls in TABLES:
        words = [f"0x{e:04x}," for e in entries(cls)]
        out += f"\nconst uint16_t mtk_grid_{name}[{len(words)}] = {{\n"
        for i in range(0, len(words), 12):
            out += "    " + " ".join(words[i:i + 12]) + "\n"
        out += "};\n"
    return out


if __name__ == "__main__":
    if "--check" in sys.argv:
        path = pathlib.Path(__file__).resolve().parents[2] / "core/tensor/iq_grids.c"
        sys.exit(0 if path.read_text() == text() else f"{path} differs from the gguf package")
    sys.stdout.write(text())
