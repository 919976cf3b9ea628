#!/usr/bin/env python3
"""quantize_torch.py MTK FOLDER [ROUNDS]: mtk quantize beside llm-compressor (model_free_ptq) and ModelOpt, on one
thread each, by turns; CPU time (user and system), less that of their imports, and peak memory. FOLDER: a Hugging Face
folder in bf16. All round to nearest and write a folder; mtk does not compare afterwards, as they do not, but digests
its source. A package that is not installed, or that cannot do a type, is said so. Needs torch on the CPU.

  quantize_torch.py --child PEER SOURCE TARGET SCHEME     one run of a peer; SCHEME - : its imports alone
"""
import os
import subprocess
import sys
import tempfile

# mtk's target -> llm-compressor's scheme, ModelOpt's config
TYPES = {"nvfp4": ("NVFP4A16", "W4A16_NVFP4_CFG"), "mxfp4": ("MXFP4A16", "-"), "fp8-channel": ("FP8_DYNAMIC", "-"),
         "fp8-block": ("FP8_BLOCK", "-")}
PEERS = ("llm-compressor", "ModelOpt")


def by_llm_compressor(source, target, scheme):
    from llmcompressor import model_free_ptq
    if scheme != "-":
        model_free_ptq(source, target, scheme=scheme, ignore=["lm_head", "model.embed_tokens"], device="cpu")


def by_modelopt(source, target, scheme):
    import modelopt.torch.quantization as mtq
    import torch
    from modelopt.torch.export import export_hf_checkpoint
    from transformers import AutoModelForCausalLM
    if scheme != "-":
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
        export_hf_checkpoint(mtq.quantize(model, getattr(mtq, scheme)), export_dir=target)


def child(peer, source, target, scheme):
    import torch
    torch.set_num_threads(1)
    {PEERS[0]: by_llm_compressor, PEERS[1]: by_modelopt}[peer](source, target, scheme)


def measure(command):
    """(CPU seconds, peak MB) of a command; None if it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
    _, status, usage = os.wait4(process.pid, 0)
    return None if status else (usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3)


def best(command, rounds, folder):
    runs = []
    for _ in range(rounds):
        subprocess.run(["rm", "-rf", folder], check=True)
        runs.append(measure(command))
    return None if None in runs else min(runs)


def main():
    mtk, source = sys.argv[1], sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    peer_command = [sys.executable, __file__, "--child"]
    print("| type | program | CPU s | of mtk's | peak MB |\n| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        start = {p: best([*peer_command, p, source, out, "-"], rounds, out) for p in PEERS}
        for kind, schemes in TYPES.items():
            ours = best([mtk, "quantize", source, out, "--to", kind, "-t", "1", "--no-verify", "-q"], rounds, out)
            print(f"| {kind} | mtk | {ours[0]:.2f} | 1 | {ours[1]:.0f} |", flush=True)
            for peer, scheme in zip(PEERS, schemes):
                if scheme == "-":
                    continue
                run = start[peer] and best([*peer_command, peer, source, out, scheme], rounds, out)
                if run:
                    seconds = run[0] - start[peer][0]
                    print(f"| | {peer} | {seconds:.2f} | {seconds / ours[0]:.1f} | {run[1]:.0f} |", flush=True)
                else:
                    print(f"| | {peer} | does not run here | | |", flush=True)


if sys.argv[1] == "--child":
    child(*sys.argv[2:])
else:
    main()
