#!/usr/bin/env python3
"""Writes one small tokenizer.json per normalizer, pre-tokenizer and decoder of the `tokenizers` package,
in several settings, and a file of texts that touch every code point, for compare_tokenizers.py.

usage: make_step_tokenizers.py FOLDER | --golden > tests/golden/text/steps.jsonl

The model spells bytes, and puts a "|" behind each piece, so that ids show what a step did to the text
and where it cut. With --golden (needs the package): some of the texts with ids and decoded text, one line
per tokenizer; the vocabulary of bytes is left out, the reader puts it in.
"""
import json
import os
import random
import sys
import unicodedata

NORMALIZERS = {
    "nfc": {"type": "NFC"}, "nfd": {"type": "NFD"}, "nfkc": {"type": "NFKC"}, "nfkd": {"type": "NFKD"},
    "lowercase": {"type": "Lowercase"}, "strip-accents": {"type": "StripAccents"}, "nmt": {"type": "Nmt"},
    "strip": {"type": "Strip", "strip_left": True, "strip_right": True},
    "strip-left": {"type": "Strip", "strip_left": True, "strip_right": False},
    "prepend": {"type": "Prepend", "prepend": "▁x"},
    "byte-level": {"type": "ByteLevel"},
    "replace": {"type": "Replace", "pattern": {"String": "an"}, "content": "<AN>"},
    "replace-regex": {"type": "Replace", "pattern": {"Regex": "[aeiou]+|\\s{2,}"}, "content": "_"},
    "replace-empty-match": {"type": "Replace", "pattern": {"Regex": "x*"}, "content": "-"},
    "replace-ends": {"type": "Replace", "pattern": {"Regex": "\\A +| +\\z"}, "content": ""},
    "bert": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
             "strip_accents": None, "lowercase": True},
    "bert-cased": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                   "strip_accents": None, "lowercase": False},
    "bert-accents": {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": False,
                     "strip_accents": True, "lowercase": False},
    "sequence": {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"},
                                                     {"type": "Lowercase"}]},
}


def split(pattern, behavior, invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
PRE_TOKENIZERS = {
    "whitespace": {"type": "Whitespace"}, "whitespace-split": {"type": "WhitespaceSplit"},
    "bert": {"type": "BertPreTokenizer"}, "digits": {"type": "Digits", "individual_digits": False},
    "digits-individual": {"type": "Digits", "individual_digits": True},
    "delimiter": {"type": "CharDelimiterSplit", "delimiter": "é"},
    "unicode-scripts": {"type": "UnicodeScripts"}, "fixed-length": {"type": "FixedLength", "length": 3},
    "byte-level": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "byte-level-plain": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    "split-then-byte-level": {"type": "Sequence", "pretokenizers": [
        split("[.,]", "Removed"),
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}]},
    "chars": split("", "Isolated"), "chars-literal": split("", "Isolated", kind="String"),
    "boundary": split("\\b", "Isolated"), "lookbehind": split("(?<=[a-z])(?=[A-Z])|_", "Removed"),
    "words": split("\\w+|[^\\w\\s]+", "Removed", True),
    "classes": split("[[a-zA-Z\u00e9]&&[^aeiou]]+|[^\\s[:punct:]\\d]|\\h{2}|\\u3042+", "Isolated"),
    "properties": split("\\p{Han}+|\\p{Hiragana}+|\\p{^L}|\\p{Letter}{1,3}", "Isolated"),
    "possessive": split("(?i:'s|'t|'ll)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+|.|^\\s*$", "Isolated"),
    "kimi": split("[\\p{Han}]+|[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*[\\p{Ll}&&[^\\p{Han}]]+|\\s+", "Isolated"),
    "nested": {"type": "Sequence", "pretokenizers": [
        {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}]},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]},
}
for b in BEHAVIORS:
    PRE_TOKENIZERS["split-" + b] = split("\\s", b)
    PRE_TOKENIZERS["split-literal-" + b] = split("e", b, kind="String")
    PRE_TOKENIZERS["split-invert-" + b] = split("\\p{L}+", b, True)
    PRE_TOKENIZERS["punctuation-" + b] = {"type": "Punctuation", "behavior": b}
for scheme in ("always", "never", "first"):
    for whole in (True, False):
        PRE_TOKENIZERS[f"metaspace-{scheme}-{whole}"] = {
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": whole}

METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
DECODERS = {
    "byte-level": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "byte-fallback": {"type": "ByteFallback"},
    "llama": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "strip": {"type": "Strip", "content": "a", "start": 1, "stop": 2},
    "fuse-strip": {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 2}]},
    "replace": {"type": "Replace", "pattern": {"Regex": "[a-c]"}, "content": "x"},
    "wordpiece": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "wordpiece-plain": {"type": "WordPiece", "prefix": "##", "cleanup": False},
    "metaspace": METASPACE, "metaspace-never": dict(METASPACE, prepend_scheme="never"),
    "bpe": {"type": "BPEDecoder", "suffix": "</w>"},
    "ctc": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
    "ctc-plain": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": False},
    "metaspace-fuse": {"type": "Sequence", "decoders": [METASPACE, {"type": "Fuse"}]},
}
ADDED = [("<s>", {"special": True}), ("<l>", {"lstrip": True}), ("<r>", {"rstrip": True}),
         ("<lr>", {"lstrip": True, "rstrip": True, "special": True}), ("word", {"single_word": True}),
         ("Ünïcode", {"normalized": True}), ("<s>x", {}), ("\n", {}), ("the", {"normalized": True, "rstrip": True})]


def tokenizer(added=(), **parts):
    vocab = {f"<0x{b:02X}>": b for b in range(256)}
    tokens = []
    for text, flags in added:
        token = {"id": 256 + len(tokens), "content": text, "single_word": False, "lstrip": False,
                 "rstrip": False, "normalized": False, "special": False}
        token.update(flags)
        tokens.append(token)
    root = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": {"type": "ByteFallback"},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": "|", "fuse_unk": False, "byte_fallback": True,
                      "ignore_merges": False, "vocab": vocab, "merges": []}}
    root.update(parts)
    return root


def word_tokenizer(decoder):
    """Whole words, for decoders."""
    words = ("[UNK] a aa aaa ▁a ▁b ▁ ▁▁c ## ##ing ##s do not n't ' 'm 's 've 're . , ? ! <pad> | a| Ġthe Ċ ĠÃ © ðŁ ĺ Ģ "
             "<0x41> <0xC3> <0xA9> <0xFF> <0xE2> <0x82> <0xAC> b</w> </w> c</w>d é 中 . the abc a▁ aab").split()
    words = list(dict.fromkeys(words)) + [" a", "a ", "  b  ", " do not", " n't"]
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None,
            "added_tokens": [{"id": len(words), "content": "<s>", "single_word": False, "lstrip": False,
                              "rstrip": False, "normalized": False, "special": True}],
            "pre_tokenizer": split("~", "Removed", kind="String"), "post_processor": None, "decoder": decoder,
            "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": "[UNK]"}}


def code_points(database):
    """Lines with every character that the database assigns; of ideographs and syllables only some."""
    line = ""
    for c in range(1, 0x32000):
        many = 0x3400 <= c < 0xA000 or 0xAC00 <= c < 0xD7A4 or c >= 0x17000
        if database.category(chr(c)) in ("Cn", "Cs", "Co") or (many and c % 41):
            continue
        line += "a" + chr(c) + ("b" if c % 2 else " e\u0301\u0323")
        if c % 97 == 0:
            yield line
            line = ""
    yield line


def texts():
    r = random.Random(7)
    yield from code_points(unicodedata.ucd_3_2_0)
    pieces = [" ", "  ", "<s>", "<l>", "<r>", "<lr>", "word", "words", "Ünïcode", "ü", "\n", "\n\n", "the", "there", "<s>x",
              "an", "x", ".", "don't", "IT'S", "あい", "'ſ", "camelCase_x", "12 3456", "ß", "…", "ＡＢ", "▁", " ▁a", "\u00a0"]
    for _ in range(700):
        yield "".join(r.choice(pieces) for _ in range(r.randrange(1, 12)))


def word_texts(vocab):
    r = random.Random(8)
    for _ in range(700):
        yield "~".join(r.choice(vocab) for _ in range(r.randrange(1, 9)))


def tokenizers():
    """Name and content of each file."""
    for name, n in NORMALIZERS.items():
        yield "steps-normalizer-" + name, tokenizer(normalizer=n)
    for name, p in PRE_TOKENIZERS.items():
        yield "steps-pre-" + name, tokenizer(pre_tokenizer=p)
    prepend = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Prepend", "prepend": "▁"},
                                                   {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    yield "steps-added", tokenizer(ADDED)
    yield "steps-added-normalizer", tokenizer(ADDED, normalizer=prepend)
    yield "steps-added-first", tokenizer(ADDED, pre_tokenizer=PRE_TOKENIZERS["metaspace-first-True"],
                                         normalizer=NORMALIZERS["strip-left"])
    for name, d in list(DECODERS.items()) + [("none", None)]:
        yield "words-decoder-" + name, word_tokenizer(d)
    for name in ["nfc", "nfd", "nfkc", "nfkd", "strip-accents", "bert", "lowercase"]:  # by their own Unicode
        yield "chars-normalizer-" + name, tokenizer(normalizer=NORMALIZERS[name])
    yield "chars-pre-bert", tokenizer(pre_tokenizer=PRE_TOKENIZERS["bert"])


GOLDEN_TEXTS = ["", " ", "Hello, world!  It's 12 345\t\u00bd\n\n", "  ÀÉ e\u0301\u0323 ﬁ İ ß 中文abc\u3042\u30ab\u30fc",
                "a<s> b  <l>\n <lr> c<r>  d word words the there Ünïcode <s>x", "\u00a0x\u200by\u2028z\u0007\u00ad",
                "camelCase_x'LL don't—“q”", "\u1100\u1161\u11a8 각\u11a8 \u0344 ｶﾞ Ａ", "....!!an and bananas xx", "🚀👍🏽 é́é"]


def golden():
    from tokenizers import Tokenizer
    words = list(word_tokenizer(None)["model"]["vocab"]) + ["<s>"]
    for name, root in tokenizers():
        if name.startswith("chars"):
            continue
        texts_here = GOLDEN_TEXTS
        reference = Tokenizer.from_str(json.dumps(root))
        if name.startswith("words"):
            r = random.Random(3)
            texts_here = ["~".join(r.choice(words) for _ in range(r.randrange(1, 9))) for _ in range(12)]
        else:
            del root["model"]["vocab"]
        ids = [reference.encode(t).ids for t in texts_here]
        decoded = []
        for i in ids:
            try:
                decoded.append(reference.decode(i, skip_special_tokens=False))
            except BaseException:  # the package panics where its decoder runs out of characters
                decoded.append(None)
        row = {"name": name, "json": root, "texts": texts_here, "ids": ids, "decoded": decoded}
        print(json.dumps(row, ensure_ascii=False, separators=(",", ":")))


def main():
    if sys.argv[1] == "--golden":
        return golden()
    folder = sys.argv[1]
    for name, root in tokenizers():
        with open(os.path.join(folder, name + ".json"), "w") as f:
            json.dump(root, f, ensure_ascii=False)
    lines = {"chars": code_points(unicodedata), "steps": texts(),
             "words": word_texts(list(word_tokenizer(None)["model"]["vocab"]) + ["<s>"])}
    for name, source in lines.items():
        with open(os.path.join(folder, name + ".lines"), "w") as f:
            f.writelines(json.dumps(t) + "\n" for t in source)


if __name__ == "__main__":
    main()
