#!/usr/bin/env python3
"""quantize_llama.py MTK BF16.gguf [ROUNDS]: mtk quantize beside llama.cpp's llama_model_quantize
(llama-cpp-python), one thread each, by turns; CPU time (user and system) and its ratio. Both write
every matrix in the type, the embedding too; mtk does not compare afterwards, as llama.cpp does not,
but digests its source.

  quantize_llama.py --child IN OUT TYPE      one run of llama.cpp
"""
import os
import resource
import subprocess
import sys
import tempfile

import llama_quantize

TYPES = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k")


def cpu(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    mtk, src = sys.argv[1], sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    gigabytes = os.path.getsize(src) / 1e9
    print("| type | mtk, CPU s | llama.cpp, CPU s | llama.cpp / mtk | mtk, GB/s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.gguf")
        start = cpu([sys.executable, "-c", "import llama_cpp"])
        for name in TYPES:
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(cpu([mtk, "quantize", src, out, "--to", name, "--embeddings", "-t", "1",
                                 "--no-verify", "--force", "-q"]))
                theirs.append(cpu([sys.executable, __file__, "--child", src, out, name]) - start)
            a, b = min(ours), min(theirs)
            print(f"| {name} | {a:.2f} | {b:.2f} | {b / a:.2f} | {gigabytes / a:.2f} |", flush=True)


if sys.argv[1] == "--child":
    llama_quantize.quantize(*sys.argv[2:5], pure=True)
else:
    main()
