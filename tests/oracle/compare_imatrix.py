#!/usr/bin/env python3
"""Do mtk and llama.cpp quantize alike with the same importance matrix? Needs llama-cpp-python and gguf.

    compare_imatrix.py MTK SRC.gguf IMATRIX.gguf FTYPE TARGET    e.g. 15 q4_k_m

Both quantize SRC (bf16); every tensor's bytes are compared."""
import ctypes
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np


def importances(path):
    """What llama-quantize makes of an importance matrix: sums of squares over counts, in f32."""
    tensors = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
    rows = []
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            base = name[: -len(".in_sum2")]
            counts = tensors[base + ".counts"].reshape(-1, 1)
            rows.append((base.encode(), np.ascontiguousarray((sums / counts).astype(np.float32).reshape(-1))))
    return rows


def quantize_theirs(source, target, imatrix, ftype):
    rows = importances(imatrix)
    array = (llama_cpp.llama_model_imatrix_data * (len(rows) + 1))()
    for entry, (name, values) in zip(array, rows):
        entry.name, entry.size = name, values.size
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread, params.ftype, params.imatrix = 1, ftype, array
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
        sys.exit("llama_model_quantize failed")


def main():
    mtk, source, imatrix, ftype, target = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = folder + "/ours.gguf", folder + "/theirs.gguf"
        quantize_theirs(source, theirs, imatrix, int(ftype))
        subprocess.run([mtk, "quantize", source, ours, "--to", target, "--imatrix", imatrix, "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        a, b = ({t.name: t for t in gguf.GGUFReader(p).tensors} for p in (ours, theirs))
        other = [n for n in b if n not in a or a[n].tensor_type != b[n].tensor_type]
        differ = [n for n in b if n not in other and not np.array_equal(a[n].data, b[n].data)]
        print(f"{target}: {len(b)} tensors, {len(other)} of another type {other[:3]}, {len(differ)} differ {differ[:3]}")
        sys.exit(bool(other or differ))


main()
