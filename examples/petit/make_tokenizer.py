#!/usr/bin/env python3
"""Learn petit's 240 merges and write model/tokenizer.json (Hugging Face layout, byte-level BPE).

    make_tokenizer.py [--out model/tokenizer.json]

512 ids: 16 specials, 256 bytes, 240 merges. A merge may not start with a small ASCII letter, so
a token of several letters always starts with a space, a capital or an accented letter: a quoted
word such as "strawberry" stays one byte per token, and petit can spell it. Standard library only,
deterministic: the merges are learned on generated examples with a fixed seed.
"""

import argparse
import collections
import json
import random
import re
import unicodedata

from generate import MIX, problem
from languages import LANGS

SPECIALS = ("<unk> <s> </s> [INST] [/INST] [THINK] [/THINK] <pad> [SYSTEM_PROMPT]"
            " [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS] [ARGS]"
            " [TOOL_RESULTS] [/TOOL_RESULTS]").split()
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
MERGES = 240
EXAMPLES = 12000


def byte_alphabet():
    """GPT-2's printable stand-in for every byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, spare = {b: chr(b) for b in plain}, 256
    for b in range(256):
        if b not in table:
            table[b], spare = chr(spare), spare + 1
    return table


def without_properties(pattern):
    """Spell out \\p{..} for the re module, for characters below U+3000."""
    chars = collections.defaultdict(list)
    for i in range(0x3000):
        name = unicodedata.category(chr(i))
        for key in {name, name[0]}:
            chars[key].append(re.escape(chr(i)))
    return re.sub(r"\[?\\p\{(\w+)\}", lambda m: ("[" if m[0][0] == "[" else "")
                  + "".join(chars[m[1]]), pattern.replace(r"|\p{N}|", r"|[\p{N}]|"))


def texts(seed=7):
    """Questions, traces and answers; words to be spelled and single letters become 0."""
    rng = random.Random(seed)
    for _ in range(EXAMPLES):
        task = rng.choices(list(MIX), list(MIX.values()))[0]
        p = problem(rng, task, rng.choice(LANGS), False)
        question, trace = p["question"], p["trace"]
        if task == "count":
            word = p["key"][1]
            question = re.sub(rf"\b({word}|[a-z])\b", "0", question)
            trace = re.sub(r"\b[a-z]\b", "0", trace)
        yield from (question, trace, p["content"])


def pieces():
    """Pre-token -> how often it occurs, as tuples of byte stand-ins."""
    split, alphabet = re.compile(without_properties(PATTERN)), byte_alphabet()
    counts = collections.Counter(m for text in texts() for m in split.findall(text))
    return {tuple(alphabet[b] for b in piece.encode()): n for piece, n in counts.items()}


def join(piece, pair):
    out, i = [], 0
    while i < len(piece):
        if piece[i:i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(piece[i])
            i += 1
    return tuple(out)


def learn(counts):
    merges = []
    while len(merges) < MERGES:
        pairs = collections.Counter()
        for piece, n in counts.items():
            for pair in zip(piece, piece[1:]):
                if not "a" <= pair[0][0] <= "z":
                    pairs[pair] += n
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        counts = {join(piece, best): n for piece, n in counts.items()}
    return merges


def tokenizer(merges):
    tokens = [*SPECIALS, *(byte_alphabet()[b] for b in range(256)), *(a + b for a, b in merges)]
    assert len(set(tokens)) == 512
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, **flags} for i, t in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated",
             "invert": False}, level]},
        "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)},
                  "merges": [f"{a} {b}" for a, b in merges]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="model/tokenizer.json")
    args = parser.parse_args()
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(tokenizer(learn(pieces())), f, ensure_ascii=False, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
