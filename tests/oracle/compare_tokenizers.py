#!/usr/bin/env python3
"""Compares `mtk tokenize` with the `tokenizers` package, line by line.

usage: compare_tokenizers.py MTK LINES TOKENIZER...     LINES: one JSON string a line

For each tokenizer (a tokenizer.json): ids with and without the ids around a text, and the decoded text
of those ids with and without control tokens. Prints one line per tokenizer with the number of lines and
of differences (the first few are shown); exit status 1 if there are any. A tokenizer that the package
itself refuses is named and skipped.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"


def run(mtk, folder, args, lines):
    command = [mtk, "tokenize", folder, "--batch", "--json"] + args
    done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.decode()[:500]}")
    return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]


def report(what, text, want, got):
    at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    print(f"  {what} of {text[:200]!r}\n    at {at}: wanted {want[max(0, at - 3):at + 6]!r}, got "
          f"{got[max(0, at - 3):at + 6]!r}", file=sys.stderr)


def compare(mtk, path, texts, lines):
    import tokenizers
    try:
        reference = tokenizers.Tokenizer.from_file(path)
    except Exception as problem:
        mine = subprocess.run([mtk, "tokenize", path, "--text", "a"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        print(f"{path}: refused by the package ({str(problem)[:80]}); mtk: {mine.stdout.decode()[:160].strip()}")
        return 0 if mine.returncode in (0, 1) else 1
    reference.no_truncation()
    reference.no_padding()
    differences = 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(path, os.path.join(folder, "tokenizer.json"))
        model = os.path.join(folder, "tokenizer.json")
        for special in (True, False):
            got = run(mtk, model, ["--special"] + ([] if special else ["--no-bos"]), lines)
            ids = [reference.encode(t, add_special_tokens=special).ids for t in texts]
            coded = "".join(json.dumps(i) + "\n" for i in ids).encode()
            decoded = run(mtk, model, ["--decode"] + (["--special"] if special else []), coded)
            if len(got) != len(texts) or len(decoded) != len(texts):
                raise SystemExit(f"{path}: {len(got)} and {len(decoded)} answers for {len(texts)} lines")
            for text, want, mine, back in zip(texts, ids, got, decoded):
                try:
                    expected = reference.decode(want, skip_special_tokens=not special)
                except BaseException:  # the package panics where its decoder runs out of characters
                    expected = back["text"]
                for what, a, b in (("ids", want, mine["ids"]), ("decoding", expected, back["text"])):
                    if a != b:
                        differences += 1
                        if differences <= 5:
                            report(what, text, a, b)
    print(f"{path}: {len(texts)} lines, {differences} differences", flush=True)
    return differences


def main():
    mtk, lines_path, *paths = sys.argv[1:]
    with open(lines_path, "rb") as f:
        lines = f.read()
    texts = [json.loads(line) for line in lines.decode().split("\n")[:-1]]
    return 1 if sum([compare(mtk, path, texts, lines) for path in paths]) else 0


if __name__ == "__main__":
    sys.exit(main())
