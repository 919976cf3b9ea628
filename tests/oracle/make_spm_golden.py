"""Trains small SentencePiece models on this repository's documents (tests/golden/text/spm_*.model)
and writes the ids and texts that the sentencepiece package gives for them (spm.jsonl): first line
the texts, then one line a model. Kinds: BPE with byte fallback and user-defined symbols, Unigram
with rules of a charsmap and symbols that they do not touch, Unigram with white space as suffix.

usage: make_spm_golden.py  (needs sentencepiece and protobuf)"""
import glob, json, os, random, tempfile

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(SOURCE, "tests", "golden", "text")
RULES = [("A", "a"), ("É", "é"), ("e\u0301", "é"), ("\u3000", " "), ("\n", " "), ("\t", " "),
         ("ﬁ", "fi"), ("①", "1"), ("\u00ad", ""), ("x\u0301y", "(xy)")]
COMMON = {"minloglevel": 2, "num_threads": 1, "input_sentence_size": 0, "hard_vocab_limit": False}
MODELS = {
    "spm_bpe": {"model_type": "bpe", "vocab_size": 700, "byte_fallback": True,
                "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
                "user_defined_symbols": ["<user>", "\n\n"], "control_symbols": ["[INST]"]},
    "spm_unigram": {"model_type": "unigram", "vocab_size": 400,
                    "user_defined_symbols": ["①①", "\n"]},
    "spm_suffix": {"model_type": "unigram", "vocab_size": 300, "treat_whitespace_as_suffix": True,
                   "normalization_rule_name": "identity"},
}


def forget_paths(name):
    """A model remembers where its text lay: keep base names only."""
    path = os.path.join(OUT, name + ".model")
    model = sentencepiece_model_pb2.ModelProto()
    with open(path, "rb") as f:
        model.ParseFromString(f.read())
    del model.trainer_spec.input[:]
    model.trainer_spec.input.append("corpus.txt")
    model.trainer_spec.model_prefix = name
    with open(path, "wb") as f:
        f.write(model.SerializeToString())


def make_texts():
    texts = ["", " ", "hello world", "  two  spaces ", "A É e\u0301 ﬁ ①①① ① x\u0301y x\u0301",
             "<user>tokens<user> [INST] <s> </s> <unk>", "a\n\nb\n\n\nc\n", "日本 😀 <0x41>",
             "\u2581at the end\u2581", "a\u3000b\u00adc\td", "convert convert convert"]
    rng = random.Random(3)
    alphabet = ["model", "tokens", " ", "  ", "\n", "\n\n", "<user>", "A", "①", "①①", "é", "\u2581",
                "x\u0301", "日", "s", "t", "."]
    return texts + ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 20)))
                    for _ in range(60)]


def main():
    texts = make_texts()
    with tempfile.TemporaryDirectory() as work:
        corpus, rules = os.path.join(work, "corpus.txt"), os.path.join(work, "rules.tsv")
        with open(corpus, "w", encoding="utf-8") as f:
            for path in sorted(glob.glob(os.path.join(SOURCE, "*.md"))):
                with open(path, encoding="utf-8") as document:
                    f.write(document.read())
        with open(rules, "w", encoding="utf-8") as f:
            for source, target in RULES:
                codes = [" ".join("%04X" % ord(c) for c in s) for s in (source, target)]
                f.write("\t".join(codes) + "\n")
        with open(os.path.join(OUT, "spm.jsonl"), "w", encoding="utf-8") as out:
            out.write(json.dumps(texts, ensure_ascii=False) + "\n")
            for name, options in MODELS.items():
                if name == "spm_unigram":
                    options = dict(options, normalization_rule_tsv=rules)
                spm.SentencePieceTrainer.train(input=corpus, model_prefix=os.path.join(OUT, name),
                                               **COMMON, **options)
                os.remove(os.path.join(OUT, name + ".vocab"))
                forget_paths(name)
                processor = spm.SentencePieceProcessor(
                    model_file=os.path.join(OUT, name + ".model"))
                ids = [processor.encode(t) for t in texts]
                row = {"model": name, "ids": ids, "decoded": [processor.decode(i) for i in ids]}
                out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
