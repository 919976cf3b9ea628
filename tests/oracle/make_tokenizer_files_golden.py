"""Writes tests/golden/tokenizer_files.jsonl: ids that the sentencepiece, tiktoken and mistral-common
packages give for the tokenizer files of the data set. First line: the texts; then one line a file.

usage: make_tokenizer_files_golden.py DATA  (needs sentencepiece, tiktoken, mistral-common)"""
import json, os, random, sys, unicodedata

import sentencepiece
import tiktoken
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tiktoken.load import load_tiktoken_bpe

DATA = os.path.join(sys.argv[1], "tokenizers")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + ENDING
         + r"|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*" + ENDING
         + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def make_texts():
    texts = ["", "hello world", "  a  b ", "Hello,  World!\n\nfoo\tbar",
             "日本語テキスト、これは「テスト」です。①②③ ｶﾀｶﾅ", "ﬁne ﬀ Å é e\u0301 ½",
             "a\u0301 \u1100\u1161", "😀 emoji 👩‍👩‍👧 flags 🇩🇪🇫🇷", "\u2581x\u2581",
             "[INST] hi [/INST] <s></s> [REFERENCE_DOC_3] [REF]x[/REF]", "<0x41> byte",
             "\x00 nul", " ".join(["word"] * 50), "   ", "\n", "x\u3000y\u00a0z",
             "ＡＢＣ１２３", "Ünïcödé ŠŽ żółć", "مرحبا بالعالم", "שלום עולם", "Привет мир",
             "한국어 텍스트", "สวัสดีชาวโลก", "नमस्ते दुनिया", "0123456789 3.14159",
             "def f(x):\n    return x+1\n", "\r\n\r\n", "\u200b\u200dzero", "\ufeffbom"]
    rng = random.Random(1)
    alphabet = "abc def ghi \u2581\n\t.,-éß日本①ﬁ😀ｱ"
    texts += ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 60))) for _ in range(60)]
    return texts


def sentencepiece_ids(path, texts):
    processor = sentencepiece.SentencePieceProcessor()
    processor.Load(path)
    return [processor.EncodeAsIds(t) for t in texts]


def tiktoken_ids(path, pattern, texts):
    encoding = tiktoken.Encoding("golden", pat_str=pattern, special_tokens={},
                                 mergeable_ranks=load_tiktoken_bpe(path))
    return [encoding.encode(t, disallowed_special=()) for t in texts]


def tekken_ids(path, texts):
    """The data set has the ranks only; the package has the file that they are from."""
    import mistral_common
    whole = os.path.join(os.path.dirname(mistral_common.__file__), "data", "tekken_240718.json")
    tokenizer = Tekkenizer.from_file(whole)
    return [tokenizer.encode(t, bos=False, eos=False) for t in texts]


def main():
    texts = make_texts()
    files = {
        "sentencepiece/test_model.model": sentencepiece_ids,
        "sentencepiece/test_ja_model.model": sentencepiece_ids,
        "mistral/tokenizer.model.v1": sentencepiece_ids,
        "mistral/mistral_instruct_tokenizer_240323.model.v3": sentencepiece_ids,
        "mistral/tekken_240718.ranks.json": tekken_ids,
        "o200k_base.tiktoken": lambda path, t: tiktoken_ids(path, O200K, t),
        "qwen.tiktoken": lambda path, t: tiktoken_ids(
            path, QWEN, [unicodedata.normalize("NFC", x) for x in t]),
    }
    out = os.path.join(SOURCE, "tests", "golden", "tokenizer_files.jsonl")
    with open(out, "w", encoding="utf-8") as f:
        f.write(json.dumps(texts, ensure_ascii=False) + "\n")
        for name, encode in files.items():
            row = {"file": name, "ids": encode(os.path.join(DATA, name), texts)}
            f.write(json.dumps(row, separators=(",", ":")) + "\n")


main()
