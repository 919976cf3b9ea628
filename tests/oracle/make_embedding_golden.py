"""Embeddings by transformers in f32 (tests/golden/embeddings.json, tests/golden/nomic_bert.json).

    python tests/oracle/make_embedding_golden.py minilm FOLDER     all-MiniLM-L6-v2: mean pooling, normalized
    python tests/oracle/make_embedding_golden.py nomic             a small NomicBert with weights from a seed (tests/cli/_arch.py)

Needs: pip install torch transformers safetensors (made with transformers 5.23, torch 2.15). Vectors are
kept as little-endian f32 in base64.
"""
import base64
import importlib.util
import json
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open

ROOT = pathlib.Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("arch", ROOT / "tests/cli/_arch.py")
arch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(arch)

MAX_TOKENS = 256  # sentence_bert_config.json
TEXTS = [
    "A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby.",
    "A man is riding a horse.", "A woman is playing violin.", "Two men pushed carts through the woods.",
    "Someone in a gorilla costume is playing a set of drums.", "A cheetah is running behind its prey.",
    "Das Wetter ist heute schön.", "Le café est fermé à Noël, n'est-ce pas ?", "Здравствуй, мир!",
    "東京は日本の首都です。", "人工智能正在改变世界", "한국어 문장입니다.", "x", "!?…", "UPPER lower MiXeD 123,456.78",
    "emoji 🙂 and\ttabs\nand lines", "antidisestablishmentarianism " * 3, "words of BERT's",
    "The quick brown fox jumps over the lazy dog; naïve façade. " * 60, "漢字かな交じり文 " * 80,
]


def pooled(model, ids):
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden.mean(0), dim=0)


def packed(v):
    return base64.b64encode(v.numpy().astype("<f4").tobytes()).decode()


def minilm(folder):
    tok = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    rows = []
    for text in TEXTS:
        ids = tok(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        rows.append({"text": text, "n_tokens": len(ids), "embedding": packed(pooled(model, ids))})
    return rows


def nomic():
    config = transformers.NomicBertConfig(vocab_size=64, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
                                          num_attention_heads=4, max_position_embeddings=128)
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(tmp)
        transformers.NomicBertModel(config).save_pretrained(folder)
        text = json.loads((folder / "config.json").read_text())
        with safe_open(folder / "model.safetensors", "pt") as f:
            shapes = {k: list(f.get_slice(k).get_shape()) for k in f.keys()}
        golden = {"config": {k: v for k, v in text.items() if k not in ("transformers_version", "dtype")}, "seed": 21,
                  "norm_base": 1, "tensors": shapes}
        arch.make(golden, tmp)
        model = transformers.NomicBertModel.from_pretrained(folder, dtype=torch.float32,
                                                            attn_implementation="eager").eval()
        lists = [[(x & 255) % 64 for x in arch.noise("ids", n, n)] for n in (1, 7, 40, 100)]
        golden["texts"] = [{"ids": ids, "embedding": packed(pooled(model, ids))} for ids in lists]
    return golden


if __name__ == "__main__":
    name, made = ("embeddings", minilm(sys.argv[2])) if sys.argv[1] == "minilm" else ("nomic_bert", nomic())
    path = ROOT / "tests/golden" / f"{name}.json"
    path.write_text(json.dumps(made, indent=0, ensure_ascii=False) + "\n")
    print(path, path.stat().st_size, "bytes")
