#!/usr/bin/env python3
"""Prompt, generation and batched decode of mtk and llama.cpp on the same files, interleaved, medians.

    compare_llama.py [OPTIONS] [TYPE | FILE.gguf]...      (default: all types)

Needs llama-cpp-python built for this CPU. A TYPE is measured on two shapes with random weights, written by
random_gguf.py: smollm2 (30 layers; smollm2-768 for types with blocks of 256, which do not fit its 576 columns) and 8b.
Of 8b, --layers layers are run with a vocabulary cut in the same proportion, and rates are given for the whole model, by
the work that was left out. (The last layer's feed-forward part need not be computed for prompt tokens whose logits
nobody wants. llama.cpp leaves it out: nothing in a whole model, much in two layers. So it is taken into account.)

Both sides do the same work: a prompt of 512 of which only the last logits are read, then 64 tokens one by one; then 8
and 32 sequences of 16 tokens each that decode 16 more together, logits of each read. Ids are drawn, nothing is sampled.
Both keep keys and values in f16 (llama.cpp's default). llama.cpp runs through its C API with one thread count for all,
n_ubatch 512, and flash attention on and off, of which the faster counts for each row; each of its contexts takes the
same prompt once before it counts. mtk runs as `mtk bench`, one run to warm up.

All types with the default three rounds take about an hour and a half on two quiet cores, --quick a quarter of an hour;
after every file the time left is printed. Every finished row goes to OUT.csv at once, and what is in there is not
measured again: stop and go on as you like. At the end OUT.md is written from it. Ratios above 1: mtk is faster.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import random_gguf
from results import append, load, run

HERE = pathlib.Path(__file__).resolve().parent
PROMPT, GENERATE, SHORT, STEPS, SEQUENCES = 512, 64, 16, 16, (8, 32)
COLUMNS = ["model", "type", "threads", "what", "mtk", "llama", "ratio", "mtk_min", "mtk_max", "llama_min", "llama_max",
           "rounds", "flash_attention"]


# ---- llama.cpp -----------------------------------------------------------------------------------

# Linux's names of what kernels are written for, and llama.cpp's.
FEATURES = {"avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "avx512f": "AVX512", "avx512_vnni": "AVX512_VNNI",
            "avx512_bf16": "AVX512_BF16", "amx_int8": "AMX_INT8"}


def not_built_in(system_info, cpu_flags):
    """llama.cpp's names of what the CPU has and this build of it does not use."""
    words = system_info.replace("|", ":").split(":")
    used = {w.split("=")[0].strip() for w in words if "=" in w and w.split("=")[1].strip() != "0"}
    return [name for flag, name in FEATURES.items() if flag in cpu_flags and name not in used]


def check_build():
    """Prints how llama.cpp was built; stops if that is not for this CPU."""
    import llama_cpp
    info = llama_cpp.llama_print_system_info().decode()
    print(f"llama.cpp: {info.strip(' |')}", flush=True)
    with open("/proc/cpuinfo") as f:
        flags = next((line.split(":", 1)[1].split() for line in f if line.startswith("flags")), [])
    missing = not_built_in(info, flags)
    if missing:
        sys.exit(f"this llama-cpp-python is built without {', '.join(missing)}, which this CPU has; build it with "
                 "CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python")


class Llama:
    """A model in llama.cpp; rates() measures one context."""

    def __init__(self, path, threads):
        import llama_cpp.llama_cpp as low
        self.low, self.threads = low, threads
        self.silence = low.llama_log_callback(lambda *_: None)
        low.llama_log_set(self.silence, None)
        low.llama_backend_init()
        self.model = low.llama_model_load_from_file(os.fsencode(path), low.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocab = low.llama_vocab_n_tokens(low.llama_model_get_vocab(self.model))
        self.batch = low.llama_batch_init(PROMPT, 0, 1)

    def close(self):
        self.low.llama_batch_free(self.batch)
        self.low.llama_model_free(self.model)

    def context(self, sequences, flash):
        low = self.low
        p = low.llama_context_default_params()
        p.n_ctx = 1024 if sequences == 1 else sequences * 256
        p.n_batch = p.n_ubatch = PROMPT
        p.n_seq_max = sequences
        p.n_threads = p.n_threads_batch = self.threads
        p.flash_attn_type = low.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else low.LLAMA_FLASH_ATTN_TYPE_DISABLED
        p.no_perf = True
        ctx = low.llama_init_from_model(self.model, p)
        if not ctx:
            sys.exit("llama.cpp cannot make a context")
        return ctx

    def decode(self, ctx, entries):
        """entries: (id, position, sequence, whether its logits are wanted)."""
        b = self.batch
        b.n_tokens = len(entries)
        for i, (token, pos, seq, wanted) in enumerate(entries):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, pos, 1, wanted
            b.seq_id[i][0] = seq
        if self.low.llama_decode(ctx, b):
            sys.exit("llama.cpp cannot decode")
        for i, entry in enumerate(entries):
            if entry[3]:
                self.low.llama_get_logits_ith(ctx, i)[0]  # waits until it is there

    def token(self, seq, pos):
        return (pos * 7919 + seq * 104729) % self.vocab

    def measure(self, sequences, flash):
        """Prompt and decode rates, tokens/s, from an empty cache."""
        n = PROMPT if sequences == 1 else SHORT
        steps = GENERATE if sequences == 1 else STEPS
        ctx = self.context(sequences, flash)
        self.pass_over(ctx, sequences, n, 2)  # touches all buffers and starts the threads
        prompt, decode = self.pass_over(ctx, sequences, n, steps)
        self.low.llama_free(ctx)
        return sequences * n / prompt, sequences * steps / decode

    def pass_over(self, ctx, sequences, n, steps):
        """Prompts of n tokens into an empty cache, then steps of one token each: seconds of both."""
        self.low.llama_memory_clear(self.low.llama_get_memory(ctx), True)
        start = time.perf_counter()
        for first in range(0, sequences, PROMPT // n):
            chunk = range(first, min(sequences, first + PROMPT // n))
            self.decode(ctx, [(self.token(s, i), i, s, i == n - 1) for s in chunk for i in range(n)])
        middle = time.perf_counter()
        for i in range(n, n + steps):
            self.decode(ctx, [(self.token(s, i), i, s, True) for s in range(sequences)])
        return middle - start, time.perf_counter() - middle


# ---- mtk -----------------------------------------------------------------------------------------

def mtk_bench(binary, path, threads, *options):
    """The runs of `mtk bench`."""
    command = [binary, "bench", path, "-t", threads, "--kv-cache", "f16", "--no-limits", "--json", "-q", *options]
    return json.loads(run(*command))["runs"]


def mtk_rates(binary, path, threads, sequences):
    """sequences -> (prompt, decode) rates."""
    prompt, steps = (PROMPT, GENERATE) if sequences == [1] else (SHORT, STEPS)
    runs = mtk_bench(binary, path, threads, "-p", prompt, "-n", steps, "-s", ",".join(map(str, sequences)), "-r", 1)
    return {r["sequences"]: (r["prompt_tokens_per_s"], r["generated_tokens_per_s"],
                             r["prompt"]["gops"] * 1e9 / r["prompt_tokens_per_s"]) for r in runs}


# ---- from some layers to the whole model ---------------------------------------------------------

class Part:
    """`layers` of a config's layers, the vocabulary cut in proportion."""

    def __init__(self, config, layers):
        c = json.loads(config.read_text())
        dim, head = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"]
        self.config, self.layers, self.whole = config, layers, c["num_hidden_layers"]
        self.vocab = c["vocab_size"] * layers // self.whole
        self.ffn = 3 * dim * c["intermediate_size"]
        self.layer = self.ffn + 2 * dim * head * (c["num_attention_heads"] + c["num_key_value_heads"])

    def factor(self, what, skips_last):
        """What a rate of the part is multiplied with to be that of the whole."""
        skipped = self.ffn * (PROMPT - 1) / PROMPT if skips_last and what.startswith("prompt") else 0
        return (self.layers * self.layer - skipped) / (self.whole * self.layer - skipped)

    def skips_last(self, ops_per_token):
        """Did mtk leave out the last layer's feed-forward part?"""
        return ops_per_token < 2 * (self.layers * self.layer - self.ffn / 2)


# ---- one file ------------------------------------------------------------------------------------

def whats(parts):
    """(name, sequences, index into the rates)"""
    out = []
    if "prompt" in parts:
        out.append((f"prompt {PROMPT}", 1, 0))
    if "generate" in parts:
        out.append((f"generate {GENERATE}", 1, 1))
    if "batch" in parts:
        out += [(f"decode {s} sequences", s, 1) for s in SEQUENCES]
    return out


def compare(path, threads, wanted, a):
    """Interleaved rounds over one file; what -> (mtk's rates, llama.cpp's rates, whether with flash attention, mtk's
    operations a token). llama.cpp runs with and without flash attention, and what was faster counts."""
    llama = Llama(path, threads)
    counts = sorted({s for _, s, _ in wanted})
    groups = [g for g in ([s for s in counts if s == 1], [s for s in counts if s > 1]) if g]
    ours, theirs = {s: [] for s in counts}, {(s, f): [] for s in counts for f in (False, True)}
    for _ in range(a.rounds):
        for group in groups:
            for s, r in mtk_rates(a.mtk, path, threads, group).items():
                ours[s].append(r)
            for s in group:
                for flash in (False, True):
                    theirs[s, flash].append(llama.measure(s, flash))
    llama.close()
    result = {}
    for what, s, i in wanted:
        of = {f: [r[i] for r in theirs[s, f]] for f in (False, True)}
        flash = statistics.median(of[True]) > statistics.median(of[False])
        result[what] = [r[i] for r in ours[s]], of[flash], flash, ours[1][0][2] if 1 in ours else 0
    return result


def key(row):
    return row["model"], row["type"], str(row["threads"]), row["what"]


def rows_of(model, kind, threads, result, part, rounds):
    for what, (ours, theirs, flash, ops) in result.items():
        if part:
            ours = [r * part.factor(what, part.skips_last(ops)) for r in ours]
            theirs = [r * part.factor(what, True) for r in theirs]
        x, y = statistics.median(ours), statistics.median(theirs)
        yield {"model": model, "type": kind, "threads": threads, "what": what, "mtk": f"{x:.4g}", "llama": f"{y:.4g}",
               "ratio": f"{x / y:.3f}", "mtk_min": f"{min(ours):.4g}", "mtk_max": f"{max(ours):.4g}",
               "llama_min": f"{min(theirs):.4g}", "llama_max": f"{max(theirs):.4g}", "rounds": rounds,
               "flash_attention": "on" if flash else "off"}


# ---- the report ----------------------------------------------------------------------------------

def markdown(path, rows, header):
    lines = [header, "", "Tokens/s, medians of interleaved runs; ratio above 1: mtk is faster.", ""]
    for model in dict.fromkeys(r["model"] for r in rows):
        of_model = [r for r in rows if r["model"] == model]
        columns = list(dict.fromkeys((r["threads"], r["what"]) for r in of_model))
        lines += [f"## {model}", "", "| type | " + " | ".join(f"{w}, {t} thr." for t, w in columns) + " |",
                  "| --- |" + " --- |" * len(columns)]
        for kind in dict.fromkeys(r["type"] for r in of_model):
            cells = {(r["threads"], r["what"]): r for r in of_model if r["type"] == kind}
            texts = [f"{float(c['mtk']):.3g} / {float(c['llama']):.3g} = **{float(c['ratio']):.2f}**" if c else "-"
                     for c in (cells.get(k) for k in columns)]
            lines.append(f"| {kind} | " + " | ".join(texts) + " |")
        lines.append("")
    path.write_text("\n".join(lines))


def machine():
    with open("/proc/cpuinfo") as f:
        name = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "unknown CPU")
    return f"{name}, {os.cpu_count()} CPUs"


# ---- all -----------------------------------------------------------------------------------------

def jobs(a):
    """(model, type, file, or instead of one: shape and the Part of it)"""
    for name in a.types:
        if name.endswith(".gguf"):
            yield pathlib.Path(name).stem, "file", name, None
            continue
        small = "smollm2-768" if name in random_gguf.BLOCK_256 else "smollm2"
        if "smollm2" in a.shapes:
            yield small, name, None, (HERE / "shapes" / f"{small}.json", None)
        if "8b" in a.shapes:
            part = Part(HERE / "shapes" / "8b.json", a.layers)
            yield f"8b, by {a.layers} of its {part.whole} layers", name, None, (part.config, part)


def write_model(folder, kind, config, part):
    """A file of random weights."""
    path = os.path.join(folder, f"{kind}.gguf")
    random_gguf.write(path, config, kind, part and part.layers, part and part.vocab)
    return path


def run_job(model, kind, path, recipe, a, done):
    """Measures what is not there yet; returns whether there was anything."""
    todo = {t: [w for w in whats(a.parts) if (model, kind, str(t), w[0]) not in done] for t in a.threads}
    if not any(todo.values()):
        return False
    part = recipe and recipe[1]
    with tempfile.TemporaryDirectory(dir=a.scratch) as folder:
        path = path or write_model(folder, kind, *recipe)
        for t, wanted in todo.items():
            if not wanted:
                continue
            result = compare(path, t, wanted, a)
            rows = list(rows_of(model, kind, t, result, part, a.rounds))
            append(a.csv, COLUMNS, rows)
            for r in rows:
                print(f"{model}, {kind}, {t} threads, {r['what']}: mtk {r['mtk']}, llama.cpp {r['llama']}, "
                      f"ratio {r['ratio']} (flash attention {r['flash_attention']})", flush=True)
    return True


def check_types(parser, types):
    unknown = [t for t in types if not t.endswith(".gguf") and t not in random_gguf.GGML_TYPES]
    if unknown:
        parser.error(f"no such type: {', '.join(unknown)}; there are {', '.join(random_gguf.GGML_TYPES)}")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("types", nargs="*", metavar="TYPE|FILE.gguf")
    p.add_argument("--mtk", default=str(HERE.parents[1] / "build/release/bin/mtk"))
    p.add_argument("--out", default="llama", help="writes OUT.csv and OUT.md [llama]")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--shapes", default="smollm2,8b")
    p.add_argument("--layers", type=int, default=2, help="of the 8b shape [2]")
    p.add_argument("--parts", default="prompt,generate,batch")
    p.add_argument("--quick", action="store_true",
                   help="one round, two threads, the 8b shape by one layer: about a fifth of the time")
    p.add_argument("--scratch", help="folder for the model files [the system's]")
    a = p.parse_args()
    if a.quick:
        a.rounds, a.threads, a.layers = 1, "2", 1
    a.types = a.types or list(random_gguf.GGML_TYPES)
    check_types(p, a.types)
    a.threads = [int(t) for t in a.threads.split(",")]
    a.shapes, a.parts = a.shapes.split(","), a.parts.split(",")
    a.csv = pathlib.Path(a.out + ".csv")
    return a


def main():
    a = arguments()
    import llama_cpp
    check_build()
    all_jobs, start, measured = list(jobs(a)), time.monotonic(), 0
    print(f"{machine()}; llama-cpp-python {llama_cpp.__version__}; {len(all_jobs)} files, threads {a.threads}, "
          f"{a.rounds} rounds", flush=True)
    for i, job in enumerate(all_jobs):
        measured += run_job(*job, a, {key(r) for r in load(a.csv)})
        if measured:
            spent = time.monotonic() - start
            left = spent / measured * (len(all_jobs) - i - 1)
            print(f"[{i + 1}/{len(all_jobs)}] {spent / 60:.1f} min so far, about {left / 60:.0f} min left", flush=True)
    title = f"# mtk and llama.cpp (llama-cpp-python {llama_cpp.__version__}) on {machine()}"
    markdown(pathlib.Path(a.out + ".md"), load(a.csv), title)
    print(f"{a.out}.csv, {a.out}.md; {(time.monotonic() - start) / 60:.1f} min")


if __name__ == "__main__":
    main()
