#!/usr/bin/env python3
"""LoRA adapters for the tiny model of make_mistral_golden.py, in PEFT's and Mistral's layouts, and
transformers' logits with the adapter merged by PEFT's formulas, in numpy:

  make_adapter_golden.py tests/golden/formats/mistral tests/golden/formats/adapter

Needs numpy, torch, transformers, safetensors. Writes NAME.safetensors, NAME.config.json (PEFT),
plain.lora.safetensors (Mistral) and NAME.json (ids, logits).
"""
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import MistralConfig, MistralForCausalLM

IDS = [1, 17, 3, 40, 9, 9, 2, 55, 30, 12]
HF = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj",
      "attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj",
      "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
      "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm",
      "ffn_norm": "post_attention_layernorm"}
TOP = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}


def order(heads, n):
    head = n // heads
    return np.concatenate([h * head + np.r_[0:head:2, 1:head:2] for h in range(heads)])


def hf_weights(params, native):
    out, heads = {}, {"attention.wq": params["n_heads"], "attention.wk": params["n_kv_heads"]}
    for name, w in native.items():
        stem = name.removesuffix(".weight")
        if stem in TOP:
            out[TOP[stem]] = w
            continue
        _, layer, part = stem.split(".", 2)
        if part in heads:
            w = w[order(heads[part], w.shape[0])]
        out[f"model.layers.{layer}.{HF[part]}"] = w
    return out


def logits(params, weights):
    rope = {"rope_type": "default", "rope_theta": params["rope_theta"]}
    config = MistralConfig(
        hidden_size=params["dim"], num_hidden_layers=params["n_layers"],
        head_dim=params["head_dim"], intermediate_size=params["hidden_dim"],
        num_attention_heads=params["n_heads"], num_key_value_heads=params["n_kv_heads"],
        vocab_size=params["vocab_size"], rms_norm_eps=params["norm_eps"], rope_parameters=rope,
        sliding_window=None, tie_word_embeddings=False)
    model = MistralForCausalLM(config).float().eval()
    model.load_state_dict({f"{k}.weight": torch.from_numpy(v.copy()) for k, v in weights.items()})
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS])).logits[0].numpy()


def lora(rng, module, w, rank):
    return {f"{module}.lora_A.weight": rng.standard_normal((rank, w.shape[1])) * 0.2,
            f"{module}.lora_B.weight": rng.standard_normal((w.shape[0], rank)) * 0.2}


def scale_of(config, module, rank):
    alpha = config["lora_alpha"]
    for key, value in config.get("alpha_pattern", {}).items():
        if module == key or module.endswith("." + key):
            alpha = value
    return alpha / (rank ** 0.5 if config["use_rslora"] else rank)


def merged(weights, tensors, config):
    out = {k: v.astype(np.float64) for k, v in weights.items()}
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            b = tensors[f"{module}.lora_B.weight"]
            out[module] += scale_of(config, module, a.shape[0]) * (b @ a)
        elif name.endswith(".lora_embedding_A"):
            module = name.removesuffix(".lora_embedding_A")
            b = tensors[f"{module}.lora_embedding_B"]
            out[module] += scale_of(config, module, a.shape[0]) * (b @ a).T
        elif "lora_" not in name:
            out[name.removesuffix(".weight")] = a.astype(np.float64)
    return {k: v.astype(np.float32) for k, v in out.items()}


def tensor(v):
    return torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32))


def write(out, name, params, weights, tensors, config):
    tensors = {k: v.astype(np.float32) for k, v in tensors.items()}
    save_file({f"base_model.model.{k}": tensor(v) for k, v in tensors.items()},
              out / f"{name}.safetensors")
    (out / f"{name}.config.json").write_text(json.dumps(config, indent=2))
    rows = logits(params, merged(weights, tensors, config))
    (out / f"{name}.json").write_text(json.dumps(
        {"ids": IDS, "logits": [[float(f"{v:.7g}") for v in row] for row in rows.tolist()]}))


def mistral(out, params, tensors, config):
    native = {}
    names = {v: k for k, v in HF.items()}
    heads = {"self_attn.q_proj": params["n_heads"], "self_attn.k_proj": params["n_kv_heads"]}
    for name, v in tensors.items():
        module, matrix = name.removesuffix(".weight").rsplit(".", 1)
        _, _, layer, part = module.split(".", 3)
        if matrix == "lora_B":
            rank = v.shape[1]
            if part in heads:  # halves -> interleaved
                back = np.empty_like(v)
                back[order(heads[part], v.shape[0])] = v
                v = back
            v = v * (scale_of(config, module, rank) / 2)
        native[f"layers.{layer}.{names[part]}.{matrix}.weight"] = tensor(v)
    save_file(native, out / "plain.lora.safetensors")


def main():
    models, out = map(pathlib.Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    params = json.loads((models / "small.params.json").read_text())
    weights = hf_weights(params, {k: v.float().numpy() for k, v in
                                  load_file(models / "text.safetensors").items()})
    rng = np.random.default_rng(3)
    linear = [m for m in weights if "_proj" in m]
    small = {"model.layers.1.self_attn.q_proj": 2}
    tensors = {}
    for m in linear:
        tensors |= lora(rng, m, weights[m], small.get(m, 4))
    base = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "use_rslora": False,
            "task_type": "CAUSAL_LM", "target_modules": sorted({m.split(".")[-1] for m in linear}),
            "rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"v_proj": 3},
            "use_dora": False, "modules_to_save": None, "fan_in_fan_out": False,
            "base_model_name_or_path": "tiny", "init_lora_weights": True, "lora_dropout": 0.0}
    write(out, "plain", params, weights, tensors, base)
    mistral(out, params, tensors, base)
    write(out, "rslora", params, weights, tensors, {**base, "use_rslora": True})
    embed, width = weights["model.embed_tokens"].shape
    extra = {"model.embed_tokens.lora_embedding_A": rng.standard_normal((3, embed)) * 0.2,
             "model.embed_tokens.lora_embedding_B": rng.standard_normal((width, 3)) * 0.2,
             "lm_head.weight": weights["lm_head"] + 0.05 * rng.standard_normal((embed, width)),
             "model.norm.weight": weights["model.norm"] * 2}  # exact in the bf16 of the base
    k_proj = "model.layers.0.self_attn.k_proj"
    extra |= lora(rng, k_proj, weights[k_proj], 3)
    write(out, "extra", params, weights, extra,
          {**base, "r": 3, "lora_alpha": 6, "rank_pattern": {}, "alpha_pattern": {},
           "target_modules": ["embed_tokens", "k_proj"], "modules_to_save": ["lm_head", "norm"]})


main()
