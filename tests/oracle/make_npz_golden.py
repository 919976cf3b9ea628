#!/usr/bin/env python3
"""Writes tests/golden/formats/arrays*.np[yz] and the sums of their values, and seeds of the fuzz
target in formats/npz/corpus.

  make_npz_golden.py SOURCE_ROOT      (needs numpy)
"""
import hashlib
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(sys.argv[1])
OUT = ROOT / "tests/golden/formats"
CORPUS = ROOT / "formats/npz/corpus"


def main():
    r = np.random.default_rng(0)
    arrays = {
        "f4": r.standard_normal((3, 5)).astype("<f4"), "f2": r.standard_normal(7).astype("<f2"),
        "f8": r.integers(-9, 9, (2, 2, 2)).astype("<f8"), "i1": np.arange(-3, 3, dtype="i1"),
        "i2": np.arange(4, dtype="<i2"), "i4": np.arange(4, dtype="<i4"),
        "i8": np.arange(4, dtype="<i8"), "u1": np.arange(6, dtype="u1").reshape(2, 3),
        "u2": np.arange(4, dtype="<u2"), "u4": np.arange(4, dtype="<u4"),
        "u8": np.arange(4, dtype="<u8"), "flag": np.array([True, False]),
        "fortran": np.asfortranarray(r.standard_normal((3, 4, 2)).astype("<f4")),
        "big": np.arange(5, dtype=">i4"), "big_fortran": np.asfortranarray(
            r.integers(-9, 9, (3, 2)).astype(">f8")),
        "scalar": np.float32(3.5), "empty": np.zeros((0, 3), "<f4"), "a.b.weight": np.ones((1, 1)),
    }
    lines = []
    for name, a in arrays.items():
        values = np.ascontiguousarray(a).astype("<f4").tobytes()
        dims = "x".join(map(str, np.shape(a))) or "scalar"
        lines.append(f"{name} {dims} {hashlib.sha256(values).hexdigest()}\n")
    (OUT / "arrays.sha256").write_text("".join(lines))
    extra = dict(arrays, text=np.array(["a", "bc"]), wide=np.zeros(2, "<c16"))
    np.savez(OUT / "arrays.npz", **extra)
    np.savez_compressed(OUT / "arrays_deflated.npz", **extra)
    np.save(OUT / "array.npy", arrays["fortran"])
    CORPUS.mkdir(parents=True, exist_ok=True)
    np.savez(CORPUS / "stored.npz", w=arrays["u1"], f=arrays["fortran"])
    np.savez_compressed(CORPUS / "deflated.npz", w=arrays["u1"], f=arrays["fortran"])
    for name in ("f4", "big_fortran", "scalar", "empty", "flag"):
        np.save(CORPUS / f"{name}.npy", arrays[name])
    np.save(CORPUS / "objects.npy", np.array([{}, None]), allow_pickle=True)
    np.save(CORPUS / "records.npy", np.zeros(2, "i4,f8"))


main()
