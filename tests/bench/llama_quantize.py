"""llama.cpp's quantizer through llama-cpp-python."""
import ctypes

# mtk's name of a type or mixture -> llama_ftype of llama.h
FTYPES = {"q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_m": 12, "q4_k": 14, "q4_k_m": 15,
          "q5_k": 16, "q5_k_m": 17, "q6_k": 18, "iq4_nl": 25, "iq4_xs": 30}


def importances(path):
    """What llama-quantize makes of an importance matrix: (name, sums of squares over counts, in f32)."""
    import gguf
    import numpy
    tensors = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            base = name[:-len(".in_sum2")]
            means = sums / tensors[base + ".counts"].reshape(-1, 1)
            yield base.encode(), numpy.ascontiguousarray(means.astype(numpy.float32).reshape(-1))


def quantize(source, target, kind, imatrix=None, pure=False, threads=1):
    """Writes the GGUF `source` (f32, f16 or bf16) as `target`; pure: every matrix in the type itself."""
    import llama_cpp
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread, params.ftype, params.pure = threads, FTYPES[kind], pure
    rows = list(importances(imatrix)) if imatrix else []
    array = (llama_cpp.llama_model_imatrix_data * (len(rows) + 1))()
    for entry, (name, values) in zip(array, rows):
        entry.name, entry.size = name, values.size
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    if rows:
        params.imatrix = array
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)):
        raise SystemExit(f"llama.cpp cannot quantize {source}")
