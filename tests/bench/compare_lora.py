#!/usr/bin/env python3
"""Speed and memory of LoRA training in mtk and in PyTorch (transformers with peft), interleaved, medians.

    compare_lora.py MTK FOLDER [ROUNDS]      (FOLDER: a Llama-like model as transformers reads it)

Both train rank 16 on every linear layer of the blocks in f32 with AdamW: steps of 8 sequences of 256 tokens, every
token learnt. The first step of PyTorch is not counted; mtk's time is that of all its steps. Peak memory is a process's.
"""
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

BATCH, LENGTH, STEPS, RANK = 8, 256, 4, 16

TORCH = f"""
import resource, sys, time, torch, transformers, peft
folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
model = peft.get_peft_model(model, peft.LoraConfig(r={RANK}, lora_alpha=32, target_modules="all-linear"))
step = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
for i in range({STEPS} + 1):
    if i == 1:
        start = time.perf_counter()
    ids = torch.randint(1000, 20000, ({BATCH}, {LENGTH}))
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    step.step()
    step.zero_grad()
rate = {BATCH * LENGTH * STEPS} / (time.perf_counter() - start)
print(rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
"""


def torch_rate(folder, threads):
    command = [sys.executable, "-c", TORCH, folder, str(threads)]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(map(float, out.stdout.split()))


def mtk_rate(binary, folder, threads, scratch):
    data = pathlib.Path(scratch) / "data.jsonl"
    with open(data, "w") as f:
        for s in range(BATCH * STEPS):
            f.write(json.dumps({"ids": [1000 + (s * 131 + i * 17) % 19000 for i in range(LENGTH)]}) + "\n")
    command = ["/usr/bin/time", "-v", binary, "finetune", folder, "--data", data, "--out", scratch + "/out", "--force",
               "--rank", RANK, "--steps", STEPS, "--batch-tokens", BATCH * LENGTH, "--save-every", 0,
               "--threads", threads, "--json", "-q"]
    run = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    done = json.loads(run.stdout.strip().splitlines()[-1])
    peak = int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", run.stderr).group(1))
    return done["tokens"] / done["seconds"], peak / 1000


def main():
    binary, folder = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    print("| threads | mtk, tokens/s | MB | PyTorch, tokens/s | MB | ratio |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for threads in (1, 2):
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(mtk_rate(binary, folder, threads, scratch))
                theirs.append(torch_rate(folder, threads))
            a, b = (statistics.median(r for r, _ in x) for x in (ours, theirs))
            most = [max(m for _, m in x) for x in (ours, theirs)]
            print(f"| {threads} | {a:.0f} | {most[0]:.0f} | {b:.0f} | {most[1]:.0f} | {a / b:.2f} |", flush=True)


if __name__ == "__main__":
    main()
