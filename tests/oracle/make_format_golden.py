#!/usr/bin/env python3
"""Small files for the tests of formats/hf and formats/gguf, made by independent packages.

  pip install gguf==0.19.0 safetensors==0.8.0 numpy ml_dtypes tokenizers==0.23.3
  make_format_golden.py tests/golden/formats

Beside each file stands FILE.sha256: one line a tensor with its name, the dimensions (outermost
first) and the SHA-256 of its values as little-endian f32, scales multiplied in.
"""
import hashlib
import json
import pathlib
import sys

import gguf
import ml_dtypes
import numpy as np
import safetensors.numpy
from gguf import GGMLQuantizationType as T
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

rng = np.random.default_rng(3)
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def normal(*shape):
    return rng.standard_normal(shape, dtype=np.float32)


def write_sums(path, values):
    lines = []
    for name, v in values.items():
        data = np.ascontiguousarray(v, dtype="<f4").tobytes()
        dims = "x".join(str(n) for n in v.shape) or "scalar"
        lines.append(f"{name} {dims} {hashlib.sha256(data).hexdigest()}\n")
    pathlib.Path(f"{path}.sha256").write_text("".join(lines))


# ---- every type ----


def nvfp4_blocks(rows, k):
    """Random blocks of ggml's NVFP4 and their values (one tensor scale apart)."""
    scales = rng.integers(0x20, 0x60, (rows, k // 16), dtype=np.uint8)
    codes = rng.integers(0, 16, (rows, k), dtype=np.uint8)
    values = E2M1[codes] * np.repeat(scales.view(ml_dtypes.float8_e4m3fn).astype(np.float32), 16, 1)
    groups = codes.reshape(rows, k // 64, 4, 2, 8)  # sub-block, half, j
    qs = groups[:, :, :, 0] | groups[:, :, :, 1] << 4
    blocks = np.concatenate(
        [scales.reshape(rows, k // 64, 4), qs.reshape(rows, k // 64, 32)], axis=2)
    return blocks.reshape(rows, -1), values, codes, scales


def make_types_gguf(path):
    w = gguf.GGUFWriter(path, "llama")
    values = {}
    w.add_name("types")
    w.add_uint32("llama.block_count", 1)
    w.add_key_value("some.f64", 0.1, gguf.GGUFValueType.FLOAT64)
    w.add_key_value("some.i8", -3, gguf.GGUFValueType.INT8)
    w.add_array("some.words", ["one", "zwei", "trois"])
    w.add_array("some.numbers", [1, -2, 3])
    for t in (T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q8_0, T.MXFP4):
        name = t.name.lower() + ".weight"
        data = gguf.quantize(normal(3, 64), t)
        w.add_tensor(name, data, raw_dtype=None if data.dtype != np.uint8 else t)
        values[name] = gguf.dequantize(data, t) if t not in (T.F16,) else data.astype(np.float32)
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.float64):
        name = np.dtype(dtype).name
        data = rng.integers(-100, 100, (2, 5)).astype(dtype)
        w.add_tensor(name, data)
        values[name] = data.astype(np.float32)
    blocks, plain, _, _ = nvfp4_blocks(2, 128)
    w.add_tensor("nvfp4.weight", blocks, raw_dtype=T.NVFP4)
    w.add_tensor("nvfp4.scale", np.array([0.37], np.float32))
    w.add_tensor("nvfp4.input_scale", np.array([0.02], np.float32))
    values["nvfp4.weight"] = plain * np.float32(0.37)
    w.add_tensor("cube", normal(2, 3, 4))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    reader = gguf.GGUFReader(path)
    values["cube"] = np.array(next(t for t in reader.tensors if t.name == "cube").data)
    write_sums(path, values)


def make_types_safetensors(path):
    tensors = {
        "f32": normal(3, 4), "f16": normal(3, 4).astype(np.float16),
        "bf16": normal(3, 4).astype(ml_dtypes.bfloat16), "f64": normal(2, 2).astype(np.float64),
        "f8_e4m3": normal(4, 4).astype(ml_dtypes.float8_e4m3fn),
        "f8_e5m2": normal(4, 4).astype(ml_dtypes.float8_e5m2),
        "bool": np.array([True, False, True]), "scalar": np.array(7, np.int32),
        "empty": np.zeros((0, 3), np.float32), "größe": np.array([1, 2], np.uint8),
    }
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64):
        tensors[np.dtype(dtype).name] = rng.integers(0, 100, (2, 3)).astype(dtype)
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"who": "golden"}))
    write_sums(path, {n: v.astype(np.float32) for n, v in tensors.items()})


# ---- quantized layouts ----


def pack(codes):
    return (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)


def make_quantized(path):
    """One file, one module per layout; formulas of the layouts written out in numpy."""
    t, values = {}, {}
    f8 = ml_dtypes.float8_e4m3fn
    _, plain, codes, scales = nvfp4_blocks(4, 128)
    glob = np.float32(173.5)
    t |= {"ct.weight_packed": pack(codes), "ct.weight_scale": scales.view(f8),
          "ct.weight_global_scale": np.array([glob]),
          "ct.input_global_scale": np.array([64], np.float32)}
    values["ct.weight"] = plain * (np.float32(1) / glob)
    _, plain, codes, scales = nvfp4_blocks(4, 64)
    step = np.float32(1) / np.float32(81.3)  # so that compressed-tensors' reciprocal can hold it
    t |= {"opt.weight": pack(codes), "opt.weight_scale": scales.view(f8),
          "opt.weight_scale_2": np.array(step, np.float32),
          "opt.input_scale": np.array(0.5, np.float32)}
    values["opt.weight"] = plain * step
    codes = rng.integers(0, 16, (3, 96), dtype=np.uint8)
    e = rng.integers(120, 130, (3, 3), dtype=np.uint8)
    t |= {"mx.weight_packed": pack(codes), "mx.weight_scale": e}
    values["mx.weight"] = E2M1[codes] * np.repeat(2.0 ** (e.astype(np.float32) - 127), 32, 1)
    for name, shape in (("tensor", (1,)), ("channel", (5, 1))):
        w, s = normal(5, 48).astype(f8), np.abs(normal(*shape)) + np.float32(0.1)
        t |= {f"{name}.weight": w, f"{name}.weight_scale": s}
        values[f"{name}.weight"] = w.astype(np.float32) * s
    w, s = normal(130, 200).astype(f8), np.abs(normal(2, 2)) + np.float32(0.1)
    t |= {"block.weight": w, "block.weight_scale_inv": s}
    grid = np.repeat(np.repeat(s, 128, 0)[:130], 128, 1)[:, :200]
    values["block.weight"] = w.astype(np.float32) * grid
    w, e = normal(2, 64).astype(f8), rng.integers(120, 130, (2, 2), dtype=np.uint8)
    t |= {"mx8.weight": w, "mx8.weight_scale": e}
    steps = np.repeat(2.0 ** (e.astype(np.float32) - 127), 32, 1)
    values["mx8.weight"] = w.astype(np.float32) * steps
    t["norm.weight"] = normal(7).astype(ml_dtypes.bfloat16)
    values["norm.weight"] = t["norm.weight"].astype(np.float32)
    path.write_bytes(safetensors.numpy.save(t))
    write_sums(path, values)


# ---- a whole model and an adapter ----

DIM, FF, HEADS, KV, HEAD = 64, 96, 4, 2, 16


def make_tokenizer(folder):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<pad>"]
    vocab = {t: i for i, t in enumerate(special + alphabet + ["th", "the"])}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=[("t", "h"), ("th", "e")]))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(special)
    (folder / "tokenizer.json").write_text(tok.to_str())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
              "pad_token": "<pad>", "add_bos_token": True,
              "chat_template": "{{ bos_token }}{{ messages[0]['content'] }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    return len(vocab)


def make_model(folder):
    folder.mkdir(exist_ok=True)
    vocab = make_tokenizer(folder)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "hidden_size": DIM, "intermediate_size": FF, "num_hidden_layers": 1,
              "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HEAD,
              "vocab_size": vocab, "max_position_embeddings": 256, "rms_norm_eps": 1e-06,
              "rope_theta": 5000.0, "tie_word_embeddings": True, "bos_token_id": 0,
              "eos_token_id": 1, "torch_dtype": "bfloat16", "attention_bias": False,
              "mlp_bias": False, "some_unknown_key": {"kept": [1, 2.5, None]},
              "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                               "high_freq_factor": 4.0, "original_max_position_embeddings": 128}}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "generation_config.json").write_text('{"temperature": 0.6}\n')
    (folder / "LICENSE").write_text("Public domain.\n")
    (folder / "README.md").write_text("# tiny\nÄ random model for tests.\n")
    b = ml_dtypes.bfloat16
    layer = "model.layers.0."
    t = {"model.embed_tokens.weight": normal(vocab, DIM).astype(b),
         "model.norm.weight": normal(DIM).astype(b),
         layer + "input_layernorm.weight": normal(DIM).astype(b),
         layer + "post_attention_layernorm.weight": normal(DIM).astype(b),
         layer + "self_attn.q_proj.weight": normal(HEADS * HEAD, DIM).astype(b),
         layer + "self_attn.k_proj.weight": normal(KV * HEAD, DIM).astype(b),
         layer + "self_attn.v_proj.weight": normal(KV * HEAD, DIM).astype(b),
         layer + "self_attn.o_proj.weight": normal(DIM, HEADS * HEAD).astype(b),
         layer + "mlp.gate_proj.weight": normal(FF, DIM).astype(b),
         layer + "mlp.up_proj.weight": normal(FF, DIM).astype(b),
         layer + "mlp.down_proj.weight": normal(DIM, FF).astype(b)}
    (folder / "model.safetensors").write_bytes(safetensors.numpy.save(t, metadata={"format": "pt"}))


def make_adapter(folder):
    folder.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": 2, "lora_alpha": 6,
              "bias": "none", "use_dora": False, "use_rslora": False, "fan_in_fan_out": False,
              "init_lora_weights": True, "target_modules": ["q_proj", "down_proj"],
              "rank_pattern": {"down_proj": 3}, "alpha_pattern": {"mlp.down_proj": 12},
              "modules_to_save": None, "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
    base = "base_model.model.model.layers.0."
    t = {base + "self_attn.q_proj.lora_A.weight": normal(2, DIM),
         base + "self_attn.q_proj.lora_B.weight": normal(HEADS * HEAD, 2),
         base + "mlp.down_proj.lora_A.weight": normal(3, FF),
         base + "mlp.down_proj.lora_B.weight": normal(DIM, 3)}
    (folder / "adapter_model.safetensors").write_bytes(safetensors.numpy.save(t))


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    make_types_gguf(out / "types.gguf")
    make_types_safetensors(out / "types.safetensors")
    make_quantized(out / "quantized.safetensors")
    make_model(out / "tiny")
    make_adapter(out / "tiny-lora")


if __name__ == "__main__":
    main()
