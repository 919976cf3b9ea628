#!/usr/bin/env python3
"""Files written by mtk, read back by the gguf and safetensors packages.

  check_format_files.py gguf FILE.gguf HF_FOLDER     the GGUF holds the folder's model
  check_format_files.py nvfp4 FILE.gguf HF_FOLDER    both hold the same NVFP4 values
  check_format_files.py hf WRITTEN ORIGINAL          the same tensors, byte for byte

Exit 0: equal; 1: one line per difference; 77: a package is missing.
"""
import json
import pathlib
import sys

try:
    import gguf
    import ml_dtypes
    import numpy as np
    import safetensors
except ImportError as e:
    print(f"SKIP: {e}")
    sys.exit(77)

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "U8": np.uint8,
          "F8_E4M3": ml_dtypes.float8_e4m3fn}
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
problems = []


def expect(ok, what):
    if not ok:
        problems.append(what)


def gguf_name(hf_name):
    module, suffix = hf_name.rsplit(".", 1)
    if module.startswith("model.layers."):
        _, _, block, rest = module.split(".", 3)
        return f"blk.{block}.{NAMES[rest]}.{suffix}"
    return f"{NAMES[module]}.{suffix}"


def read_folder(folder):
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        for name, t in safetensors.deserialize(file.read_bytes()):
            tensors[name] = np.frombuffer(t["data"], DTYPES[t["dtype"]]).reshape(t["shape"])
    return tensors, json.loads((pathlib.Path(folder) / "config.json").read_text())


def interleave(w, heads):
    """Half-split rows to interleaved ones, as llama.cpp's converter does."""
    pairs = w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:])
    return pairs.swapaxes(1, 2).reshape(w.shape)


def permuted(name, w, config):
    if ".attn_q." in name:
        return interleave(w, config["num_attention_heads"])
    if ".attn_k." in name:
        return interleave(w, config["num_key_value_heads"])
    return w


def field(reader, key):
    f = reader.get_field(key)
    return f.contents() if f else None


def check_gguf(path, folder):
    reader = gguf.GGUFReader(path)
    tensors, config = read_folder(folder)
    have = {t.name: t for t in reader.tensors}
    for hf_name, w in tensors.items():
        name = gguf_name(hf_name)
        expect(name in have, f"{name} is missing")
        if name not in have:
            continue
        t = have.pop(name)
        values = gguf.dequantize(t.data, t.tensor_type).reshape(w.shape)
        want = permuted(name, w, config).astype(np.float32)
        expect(np.array_equal(values, want), f"{name} differs")
    expect(set(have) <= {"rope_freqs.weight"}, f"extra tensors: {sorted(have)}")
    for key, hf_key in (("block_count", "num_hidden_layers"), ("embedding_length", "hidden_size"),
                        ("attention.head_count", "num_attention_heads"),
                        ("context_length", "max_position_embeddings"),
                        ("vocab_size", "vocab_size")):
        expect(field(reader, f"llama.{key}") == config[hf_key], f"llama.{key} differs")
    expect(field(reader, "general.architecture") == "llama", "architecture differs")
    tokens = field(reader, "tokenizer.ggml.tokens")
    if tokens is not None:
        vocab = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text())["model"]["vocab"]
        expect(all(tokens[i] == t for t, i in vocab.items()), "tokens differ")


def check_nvfp4(path, folder):
    reader = gguf.GGUFReader(path)
    tensors, config = read_folder(folder)
    have = {t.name: t for t in reader.tensors}
    n = 0
    for hf_name, packed in tensors.items():
        if not hf_name.endswith(".weight_packed"):
            continue
        module = hf_name.removesuffix("_packed").removesuffix(".weight")
        name = gguf_name(module + ".weight")
        codes = np.stack([packed & 15, packed >> 4], 2).reshape(packed.shape[0], -1)
        scales = tensors[module + ".weight_scale"]
        expect(scales.dtype == ml_dtypes.float8_e4m3fn, f"{module}: scales are {scales.dtype}")
        step = np.float32(1) / tensors[module + ".weight_global_scale"][0]
        values = E2M1[codes] * np.repeat(scales.astype(np.float32), 16, 1) * step
        blocks = np.array(have[name].data).reshape(packed.shape[0], -1, 36)
        expect(have[name].tensor_type == gguf.GGMLQuantizationType.NVFP4, f"{name} is not NVFP4")
        qs = blocks[:, :, 4:].reshape(packed.shape[0], -1, 4, 1, 8)
        codes = np.concatenate([qs & 15, qs >> 4], 3).reshape(packed.shape[0], -1)
        scales = blocks[:, :, :4].reshape(packed.shape[0], -1).view(ml_dtypes.float8_e4m3fn)
        scale = have.get(name.replace(".weight", ".scale"))
        step = np.float32(1) if scale is None else scale.data.reshape(-1)[0]
        ours = E2M1[codes] * np.repeat(scales.astype(np.float32), 16, 1) * step
        expect(np.array_equal(ours, permuted(name, values, config)), f"{name} differs")
        n += 1
    expect(n > 0, "no NVFP4 weight found")


def check_hf(written, original):
    a, _ = read_folder(written)
    b, _ = read_folder(original)
    expect(set(a) == set(b), f"names differ: {sorted(set(a) ^ set(b))}")
    for name in set(a) & set(b):
        same = a[name].dtype == b[name].dtype and a[name].shape == b[name].shape
        expect(same and a[name].tobytes() == b[name].tobytes(), f"{name} differs")


def main():
    {"gguf": check_gguf, "nvfp4": check_nvfp4, "hf": check_hf}[sys.argv[1]](*sys.argv[2:])
    for p in problems:
        print(p)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
