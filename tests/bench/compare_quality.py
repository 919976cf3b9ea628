#!/usr/bin/env python3
"""What every type and method of mtk quantize costs a model, beside llama.cpp. docs/quality.md has the tables.

    compare_quality.py [OPTIONS] BASE.gguf [ROW]...     (BASE: bf16; default: all rows, see --list)

Each row is quantized by mtk, and by llama.cpp where it has the type (with the same importance matrix, if the method has
one); both files are evaluated by `mtk eval --kld BASE`, llama.cpp's only if a tensor differs. Types that both have take
in the embedding and the head too; mixtures (_m) choose for themselves. Size is that of all tensors. Calibration: the
last 500,000 bytes of the text; evaluation: its first windows. Needs gguf and, for the comparison, llama-cpp-python.
Rows go to OUT.csv at once; what is there is not computed again; OUT.md at the end.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

from llama_quantize import FTYPES, quantize
from results import append, load, run

HERE = pathlib.Path(__file__).resolve().parent
TAIL = 500_000
COLUMNS = ["row", "bits", "bytes", "ppl", "kld", "kld_error", "top1", "llama_bytes", "llama_ppl", "llama_kld", "same"]

# Options of mtk quantize by method; calibrated ones get the text or the importance matrix made of it.
METHODS = {
    "rtn": [],
    "imatrix": ["--imatrix"],
    "four-over-six": ["--method", "four-over-six"],
    "sweep": ["--method", "sweep"],
    "sweep imatrix": ["--method", "sweep", "--imatrix"],
    "gptq": ["--method", "gptq", "--calibration"],
    "awq sweep": ["--method", "sweep", "--equalize", "awq", "--calibration"],
    "awq gptq": ["--method", "gptq", "--equalize", "awq", "--calibration"],
}
PLAIN = ("bf16", "q8_0", "q6_k", "q5_k_m", "q5_1", "q5_0", "q4_k_m", "q4_1", "q4_0", "iq4_nl", "iq4_xs", "q3_k_m",
         "q2_k", "mxfp8", "fp8", "fp8-channel", "fp8-block", "int8", "int4", "nvfp4", "mxfp4")
WEIGHTED = ("q6_k", "q5_k_m", "q4_k_m", "q4_0", "iq4_nl", "iq4_xs", "q3_k_m", "q2_k")
FOLDERS = ("fp8", "fp8-channel", "fp8-block", "int8", "int4", "mxfp8")  # types that GGUF lacks
ROWS = ([f"{t} rtn" for t in PLAIN] + [f"{t} imatrix" for t in WEIGHTED]
        + [f"{t} gptq" for t in ("q4_0", "q4_k_m", "mxfp4")] + ["mxfp4 awq gptq"]
        + [f"nvfp4 {m}" for m in ("four-over-six", "sweep", "sweep imatrix", "gptq", "awq sweep", "awq gptq")])


def is_pure(kind):
    return kind in FTYPES and not kind.endswith("_m")


def by_mtk(a, row, folder):
    kind, method = row.split(" ", 1)
    out = folder / ("ours" if kind in FOLDERS else "ours.gguf")
    options = (["--embeddings"] if is_pure(kind) else []) + METHODS[method]
    if "--imatrix" in options:
        options.append(importance_matrix(a, folder))
    if "--calibration" in options:
        options += calibration(a, folder)
    if kind == "bf16":
        run(a.mtk, "convert", a.base, out, "-q")
    else:
        run(a.mtk, "quantize", a.base, out, "--to", kind, "--no-verify", "-q", *options)
    return out


def calibration(a, folder):
    tail = folder / "tail.txt"
    tail.write_bytes(pathlib.Path(a.text).read_bytes()[-TAIL:])
    return [tail, "--calibration-tokens", a.calibration_tokens]


def importance_matrix(a, folder):
    path = folder / "importances.gguf"
    if not path.exists():
        run(a.mtk, "quantize", a.base, folder / "o.gguf", "--to", "q4_0", "--no-verify", "-q", "--imatrix-out", path,
            "--calibration", *calibration(a, folder))
        (folder / "o.gguf").unlink()
    return path


def by_llama(a, row, folder):
    """The file of the same type by llama.cpp; None where it has no such type."""
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        return None
    kind, method = row.split(" ", 1)
    if kind not in FTYPES or method not in ("rtn", "imatrix"):
        return None
    out = folder / "theirs.gguf"
    imatrix = importance_matrix(a, folder) if method == "imatrix" else None
    quantize(a.base, out, kind, imatrix, is_pure(kind), a.threads)
    return out


def inspect(a, path):
    return json.loads(run(a.mtk, "inspect", path, "--json"))


def differing(ours, theirs):
    import gguf
    import numpy
    a, b = ({t.name: t for t in gguf.GGUFReader(p).tensors} for p in (ours, theirs))
    return [n for n in b if n not in a or a[n].tensor_type != b[n].tensor_type
            or not numpy.array_equal(a[n].data, b[n].data)]


def quality(a, path):
    return json.loads(run(a.mtk, "eval", path, "--kld", a.base, "--text", a.text, "--chunks", a.chunks, "-t", a.threads,
                          "--json", "-q"))


def measure(a, row, folder):
    ours = by_mtk(a, row, folder)
    about, q = inspect(a, ours), quality(a, ours)
    out = {"row": row, "bits": f"{about['bits_per_weight']:.3f}", "bytes": about["tensor_bytes"],
           "ppl": f"{q['ppl']:.3f}", "kld": f"{q['kld']:.4f}", "kld_error": f"{q['kld_error']:.4f}",
           "top1": f"{q['top1']:.3f}"}
    theirs = by_llama(a, row, folder)
    if theirs:
        others = differing(ours, theirs)
        q = quality(a, theirs) if others else q
        out |= {"llama_bytes": inspect(a, theirs)["tensor_bytes"], "llama_ppl": f"{q['ppl']:.3f}",
                "llama_kld": f"{q['kld']:.4f}",
                "same": f"{len(others)} tensors differ" if others else "same bytes"}
        theirs.unlink()
    return out


def markdown(rows):
    lines = ["| type, method | bits | MB | perplexity | mean KLD | same top token | llama.cpp: MB | perplexity | KLD "
             "| |", "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"]
    for r in rows:
        mb = f"{int(r['llama_bytes']) / 1e6:.1f}" if r["llama_bytes"] else "–"
        lines.append(f"| {r['row']} | {float(r['bits']):.2f} | {int(r['bytes']) / 1e6:.1f} | {r['ppl']} | "
                     f"{r['kld']} ± {r['kld_error']} | {r['top1']} | {mb} | {r['llama_ppl'] or '–'} | "
                     f"{r['llama_kld'] or '–'} | {r['same']} |")
    return "\n".join(lines) + "\n"


def arguments():
    data = pathlib.Path(os.environ.get("MTK_TEST_DATA", "."))
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("base", metavar="BASE.gguf")
    p.add_argument("rows", nargs="*", metavar="ROW", help='e.g. "nvfp4 awq gptq"')
    p.add_argument("--mtk", default=str(HERE.parents[1] / "build/release/bin/mtk"))
    p.add_argument("--text", default=data / "text/wiki.test.raw", help="[$MTK_TEST_DATA/text/wiki.test.raw]")
    p.add_argument("--out", default="quality", help="writes OUT.csv and OUT.md [quality]")
    p.add_argument("--chunks", type=int, default=4, help="windows of 512 tokens [4]")
    p.add_argument("--calibration-tokens", type=int, default=8192)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--list", action="store_true", help="print the rows")
    a = p.parse_args()
    a.rows = a.rows or ROWS
    if a.list:
        print("\n".join(a.rows))
        raise SystemExit
    return a


def main():
    a = arguments()
    out = pathlib.Path(a.out + ".csv")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for row in a.rows:
            if row in {r["row"] for r in load(out)}:
                continue
            result = measure(a, row, folder)
            append(out, COLUMNS, [result])
            print(", ".join(f"{k} {v}" for k, v in result.items()), flush=True)
            for old in folder.glob("ours*"):
                subprocess.run(["rm", "-r", old], check=True)
    pathlib.Path(a.out + ".md").write_text(markdown(load(out)))


if __name__ == "__main__":
    main()
