"""Runs `mtk tokenize` over every vector file of the data set whose vocabulary is there, and says
of every other group why it was skipped. Standard library only.

usage: _tokenizer_vectors.py MTK DATA SOURCE"""
import glob, json, os, re, subprocess, sys, tempfile

MTK, DATA, SOURCE = sys.argv[1], os.path.join(sys.argv[2], "tokenizers"), sys.argv[3]
ABSENT = "vocabulary not in the data set"

# Vocabularies by the name of a vector's model: file below DATA and options of `mtk tokenize`.
GGML = "ggml-vocab/ggml-vocab-%s.gguf"
GPT2 = (GGML % "gpt-2", ["--special"])
BERT = ("hf-json/wordpiece.tokenizer.json", ["--special"])
T5 = ("hf-json/t5-small.tokenizer.json", ["--special"])
SPM = (GGML % "llama-spm", ["--special"])
QWEN = ("npm/qwen3/tokenizer.json", ["--special"])
HF_MODELS = {
    "Xenova/gpt2": GPT2, "openai-community/gpt2": GPT2, "distilgpt2": GPT2,
    "Xenova/bert-base-uncased": BERT, "bert-base-uncased": BERT,
    "google-bert/bert-base-uncased": BERT,
    "Xenova/distilbert-base-uncased-finetuned-sst-2-english": BERT,
    "Xenova/t5-small": T5, "google-t5/t5-small": T5, "t5-base": T5,
    "Xenova/llama-tokenizer": SPM, "coreml-projects/Llama-2-7b-chat-coreml": SPM,
    "Xenova/Qwen1.5-0.5B-Chat": QWEN,
    "Xenova/gpt-4o": ("o200k_base.tiktoken", ["--special"]),
    "Xenova/deepseek-coder-1.3b-instruct": (GGML % "deepseek-coder", ["--special"]),
}
# Why a group is skipped although a similar vocabulary is there.
OTHER = {
    "Xenova/t5-tokenizer-new": "another tokenizer.json (legacy=false) over T5's vocabulary, not in "
                               "the data set",
}
# llama.cpp's vectors whose own GGUF is not there, but the same vocabulary is.
GGML_MODELS = {
    "qwen2": "npm/qwen3/tokenizer.json",
    "deepseek-r1-qwen": "npm/qwen3/tokenizer.json",
    "phi-3": GGML % "llama-spm",
}
# r50k_base is GPT-2's vocabulary.
TIKTOKEN = {"o200k_base": "o200k_base.tiktoken", "o200k_harmony": "o200k_base.tiktoken",
            "r50k_base": GGML % "gpt-2"}
# (group, text) -> why the ids may differ.
EXCEPTIONS = {
    ("transformers.js Xenova/bert-base-uncased", "hello"):
        "the case encodes a pair of texts, of which the file holds the first",
}

failed = []
total_passed = total_run = 0


def tokenize(path, texts, options):
    """The ids of each text."""
    lines = "".join(json.dumps(t) + "\n" for t in texts)
    run = subprocess.run([MTK, "tokenize", path, "--batch", *options], input=lines.encode(),
                         capture_output=True, check=False)
    if run.returncode != 0:
        raise SystemExit("mtk tokenize %s: %s" % (path, run.stderr.decode()[:500]))
    return [json.loads(line)["ids"] for line in run.stdout.splitlines()]


def check(name, path, options, cases):
    """cases: (text, ids)."""
    global total_passed, total_run
    got = tokenize(path, [text for text, _ in cases], options)
    passed = excused = 0
    for ids, (text, want) in zip(got, cases):
        if ids == want:
            passed += 1
        elif (name, text) in EXCEPTIONS:
            excused += 1
            print("  %s: %r differs: %s" % (name, text, EXCEPTIONS[name, text]))
        else:
            failed.append("%s: %r: %s, not %s" % (name, text, ids[:20], want[:20]))
    total_passed += passed
    total_run += len(cases)
    print("%-60s %d/%d%s" % (name, passed, len(cases), " (%d excused)" % excused if excused else ""))


def skip(name, n, reason):
    print("%-60s skipped (%d cases): %s" % (name, n, reason))


def present(path):
    return os.path.exists(os.path.join(DATA, path))


def ggml_vectors():
    for inp in sorted(glob.glob(os.path.join(DATA, "ggml-vocab", "*.inp"))):
        name = os.path.basename(inp)[len("ggml-vocab-"):-len(".gguf.inp")]
        with open(inp, encoding="utf-8", newline="") as f:
            texts = f.read().split("\n__ggml_vocab_test__\n")
        with open(inp[:-len("inp")] + "out", encoding="utf-8") as f:
            ids = [[int(x) for x in line.split()] for line in f.read().split("\n")]
        path = GGML % name if present(GGML % name) else GGML_MODELS.get(name)
        label = "ggml-vocab/" + name
        if path is None:
            skip(label, len(texts), ABSENT)
        else:
            check(label, os.path.join(DATA, path), ["--no-bos"], list(zip(texts, ids)))


def model_vectors(label, groups):
    for name, cases in sorted(groups.items()):
        if name not in HF_MODELS:
            skip(label + " " + name, len(cases), OTHER.get(name, ABSENT))
            continue
        path, options = HF_MODELS[name]
        check(label + " " + name, os.path.join(DATA, path), options, cases)


def transformers_js_vectors():
    groups = {}
    with open(os.path.join(DATA, "hf-tokenization-vectors.jsonl"), encoding="utf-8") as f:
        for line in f:
            case = json.loads(line)
            groups.setdefault(case["model"], []).append((case["text"], case["ids"]))
    model_vectors("transformers.js", groups)


def swift_vectors():
    with open(os.path.join(DATA, "swift-tokenizer_tests.json"), encoding="utf-8") as f:
        models = json.load(f)
    groups = {m: [(c["input"], c["encoded"]["input_ids"]) for c in cases]
              for m, cases in models.items()}
    model_vectors("swift", groups)


def tiktoken_plans(work):
    with open(os.path.join(DATA, "tiktoken-TestPlans.txt"), encoding="utf-8", newline="") as f:
        text = f.read().replace("\r\n", "\n")
    groups = {}
    plan = re.compile(r"EncodingName: (\S+)\nSample: (.*?)\nEncoded: \[([\d, ]*)\]", re.S)
    for name, sample, ids in plan.findall(text):
        groups.setdefault(name, []).append((sample, [int(x) for x in ids.split(",") if x.strip()]))
    for name, cases in sorted(groups.items()):
        label = "tiktoken " + name
        if name not in TIKTOKEN:
            skip(label, len(cases), ABSENT)
            continue
        # the name of a rank file says the encoding
        link = os.path.join(work, name + os.path.splitext(TIKTOKEN[name])[1])
        os.symlink(os.path.join(DATA, TIKTOKEN[name]), link)
        check(label, link, ["--special"], cases)


def mistral_samples():
    """Texts of conversations between control tokens. They are spelled in pieces: U+2581 stands for a
    space (the first one of each section is SentencePiece's dummy prefix), <0x0A> for a newline."""
    files = {"v1": "mistral/tokenizer.model.v1",
             "v3": "mistral/mistral_instruct_tokenizer_240323.model.v3"}
    controls = {"v1": r"(<s>|</s>)", "v3": r"(<s>|</s>|\[/?[A-Z_]+\])"}
    groups = {}
    for path in sorted(glob.glob(os.path.join(DATA, "mistral", "samples", "*", "text_v*.txt"))):
        version = path[-6:-4]
        with open(path, encoding="utf-8", newline="") as f:
            text = f.read().replace("\u2581", " ").replace("<0x0A>", "\n")
        with open(path.replace("text_", "tokens_").replace(".txt", ".json"), encoding="utf-8") as f:
            ids = json.load(f)["tokens"]
        sections = re.split(controls.get(version, "(<s>)"), text)
        plain = "".join(s[1:] if i % 2 == 0 and s.startswith(" ") else s
                        for i, s in enumerate(sections))
        groups.setdefault(version, []).append((plain, ids))
    for version, cases in sorted(groups.items()):
        label = "mistral samples " + version
        if version in files:
            check(label, os.path.join(DATA, files[version]), ["--special", "--no-bos"], cases)
        else:
            skip(label, len(cases), ABSENT)


def goldens():
    """tests/golden/tokenizer_files.jsonl: made by tests/oracle/make_tokenizer_files_golden.py."""
    groups = {}
    with open(os.path.join(SOURCE, "tests/golden/tokenizer_files.jsonl"), encoding="utf-8") as f:
        texts = json.loads(f.readline())
        for line in f:
            row = json.loads(line)
            groups[row["file"]] = list(zip(texts, row["ids"]))
    for path, cases in groups.items():
        if present(path):
            check("golden " + path, os.path.join(DATA, path), ["--no-bos"], cases)
        else:
            skip("golden " + path, len(cases), ABSENT)


def main():
    with tempfile.TemporaryDirectory() as work:
        ggml_vectors()
        transformers_js_vectors()
        swift_vectors()
        tiktoken_plans(work)
        goldens()
    mistral_samples()
    print("%d of %d cases passed" % (total_passed, total_run))
    for line in failed:
        print("FAILED", line, file=sys.stderr)
    sys.exit(1 if failed else 0)


main()
