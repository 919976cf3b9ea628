#!/usr/bin/env python3
"""Tiny random checkpoints in Mistral's own layout, what their Hugging Face twins hold, and the
logits that transformers gives for those:  make_mistral_golden.py tests/golden/formats/mistral

Names and shapes follow mistral-inference; the twins are made here in numpy, by the permutation of
rows that transformers' conversion scripts describe (interleaved pairs -> halves). Needs numpy,
torch, transformers, safetensors. Writes {text,vision,moe}.safetensors (bf16), and of each case
NAME.params.json and NAME.json: config.json of the twin, sha256 of its tensors, ids, logits.
With a second argument the twins themselves are kept there.
"""
import hashlib
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file

IDS = [1, 17, 3, 40, 9, 9, 2, 55, 30, 12, 7, 21, 60, 33, 5, 8]

# dim != n_heads * head_dim, as in Mistral Small
TEXT = {"dim": 24, "n_layers": 2, "head_dim": 8, "hidden_dim": 40, "n_heads": 4, "n_kv_heads": 2,
        "rope_theta": 1000000000.0, "norm_eps": 1e-05, "vocab_size": 64}
YARN = {"factor": 4.0, "original_max_position_embeddings": 8, "beta": 32.0, "alpha": 1.0}
VISION = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
          "num_attention_heads": 4, "num_channels": 3, "image_size": 28, "max_image_size": 28,
          "patch_size": 7, "rope_theta": 10000.0, "mm_projector_id": "patch_merge",
          "spatial_merge_size": 2, "add_pre_mm_projector_layer_norm": True, "adapter_bias": False,
          "image_token_id": 10, "image_break_token_id": 12, "image_end_token_id": 13}

BLOCK = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj",
         "attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj",
         "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
         "feed_forward.w3": "mlp.up_proj"}
VISION_BLOCK = {"attention.wq": "attention.q_proj", "attention.wk": "attention.k_proj",
                "attention.wv": "attention.v_proj", "attention.wo": "attention.o_proj",
                "attention_norm": "attention_norm", "ffn_norm": "ffn_norm",
                "feed_forward.w1": "feed_forward.gate_proj",
                "feed_forward.w2": "feed_forward.down_proj", "feed_forward.w3": "feed_forward.up_proj"}
VISION_REST = {"vision_encoder.patch_conv": "vision_tower.patch_conv",
               "vision_encoder.ln_pre": "vision_tower.ln_pre",
               "pre_mm_projector_norm": "multi_modal_projector.norm",
               "patch_merger.merging_layer": "multi_modal_projector.patch_merger.merging_layer",
               "vision_language_adapter.w_in": "multi_modal_projector.linear_1",
               "vision_language_adapter.w_out": "multi_modal_projector.linear_2"}


def halves(w, heads):
    """Rows 2j and 2j+1 of each head -> rows j and j + head/2."""
    n = w.shape[0] // heads
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)])
    return w.reshape(heads, n, -1)[:, order].reshape(w.shape)


def native_name(name, p):
    """native name -> (HF name, heads to permute or 0)"""
    stem, suffix = name.rsplit(".", 1)
    vision = "vision_encoder" in p
    top, head = ("language_model.model", "language_model.lm_head") if vision else ("model", "lm_head")
    if stem in VISION_REST:
        return f"{VISION_REST[stem]}.{suffix}", 0
    tower = stem.startswith("vision_encoder.transformer.layers.")
    if tower:
        layer, part = stem.removeprefix("vision_encoder.transformer.layers.").split(".", 1)
        heads = p["vision_encoder"]["num_attention_heads"] if part in ("attention.wq", "attention.wk") else 0
        return f"vision_tower.transformer.layers.{layer}.{VISION_BLOCK[part]}.{suffix}", heads
    if stem.startswith("layers."):
        _, layer, part = stem.split(".", 2)
        heads = {"attention.wq": p["n_heads"], "attention.wk": p["n_kv_heads"]}.get(part, 0)
        if "moe" in p and part.startswith("feed_forward."):
            return f"{expert_name(layer, part)}.{suffix}", 0
        return f"{top}.layers.{layer}.{BLOCK[part]}.{suffix}", heads
    return {"tok_embeddings": f"{top}.embed_tokens", "norm": f"{top}.norm",
            "output": head}[stem] + "." + suffix, 0


def expert_name(layer, part):
    """"feed_forward.gate" and "feed_forward.experts.3.w1", as Mixtral's folders name them"""
    return f"model.layers.{layer}.block_sparse_moe.{part.removeprefix('feed_forward.')}"


def expert_tensors(p, text, rng):
    d, ff, n = p["dim"], p["hidden_dim"], p["moe"]["num_experts"]
    out = {k: v for k, v in text.items() if "feed_forward" not in k}
    for i in range(p["n_layers"]):
        out[f"layers.{i}.feed_forward.gate.weight"] = make((n, d), rng)
        for e in range(n):
            for w, shape in {"w1": (ff, d), "w2": (d, ff), "w3": (ff, d)}.items():
                out[f"layers.{i}.feed_forward.experts.{e}.{w}.weight"] = make(shape, rng)
    return out


def text_tensors(p, rng):
    d, ff, hd = p["dim"], p["hidden_dim"], p["head_dim"]
    q, kv = p["n_heads"] * hd, p["n_kv_heads"] * hd
    shapes = {"tok_embeddings": (p["vocab_size"], d), "norm": (d,), "output": (p["vocab_size"], d)}
    for i in range(p["n_layers"]):
        shapes |= {f"layers.{i}.{k}": v for k, v in {
            "attention.wq": (q, d), "attention.wk": (kv, d), "attention.wv": (kv, d),
            "attention.wo": (d, q), "attention_norm": (d,), "ffn_norm": (d,),
            "feed_forward.w1": (ff, d), "feed_forward.w2": (d, ff), "feed_forward.w3": (ff, d)}.items()}
    return {f"{k}.weight": make(s, rng) for k, s in shapes.items()}


def vision_tensors(p, rng):
    v = p["vision_encoder"]
    d, ff, merge = v["hidden_size"], v["intermediate_size"], v["spatial_merge_size"]
    shapes = {"vision_encoder.patch_conv": (d, v["num_channels"], v["patch_size"], v["patch_size"]),
              "vision_encoder.ln_pre": (d,), "pre_mm_projector_norm": (d,),
              "patch_merger.merging_layer": (d, d * merge * merge),
              "vision_language_adapter.w_in": (p["dim"], d),
              "vision_language_adapter.w_out": (p["dim"], p["dim"])}
    for i in range(v["num_hidden_layers"]):
        shapes |= {f"vision_encoder.transformer.layers.{i}.{k}": s for k, s in {
            "attention.wq": (d, d), "attention.wk": (d, d), "attention.wv": (d, d),
            "attention.wo": (d, d), "attention_norm": (d,), "ffn_norm": (d,),
            "feed_forward.w1": (ff, d), "feed_forward.w2": (d, ff), "feed_forward.w3": (ff, d)}.items()}
    return {f"{k}.weight": make(s, rng) for k, s in shapes.items()}


def make(shape, rng):
    x = rng.standard_normal(shape) * 0.3 if len(shape) > 1 else 1 + 0.1 * rng.standard_normal(shape)
    return torch.from_numpy(x).to(torch.bfloat16).float().numpy()


def text_config(p):
    rope = {"rope_type": "default", "rope_theta": p["rope_theta"]}
    if "yarn" in p:
        y = p["yarn"]
        rope |= {"rope_type": "yarn", "factor": y["factor"], "beta_fast": y["beta"],
                 "beta_slow": y["alpha"],
                 "original_max_position_embeddings": y["original_max_position_embeddings"]}
        if not y.get("apply_scale", True):
            rope |= {"mscale": 1.0, "mscale_all_dim": 1.0}
    if "llama_4_scaling" in p:
        rope["llama_4_scaling_beta"] = p["llama_4_scaling"]["beta"]
    return {"hidden_size": p["dim"], "num_hidden_layers": p["n_layers"], "head_dim": p["head_dim"],
            "intermediate_size": p["hidden_dim"], "num_attention_heads": p["n_heads"],
            "num_key_value_heads": p["n_kv_heads"], "rms_norm_eps": p["norm_eps"],
            "vocab_size": p["vocab_size"], "hidden_act": "silu", "rope_parameters": rope,
            "max_position_embeddings": p.get("max_position_embeddings", 128000),
            "sliding_window": p.get("sliding_window"),
            "tie_word_embeddings": p.get("tied_embeddings", False)}


def config(p):
    text = text_config(p)
    kind = "ministral3" if "llama_4_scaling" in p else "mistral"
    if "moe" in p:
        moe = {"num_local_experts": p["moe"]["num_experts"],
               "num_experts_per_tok": p["moe"]["num_experts_per_tok"]}
        return {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral",
                "torch_dtype": "bfloat16", **text, **moe}
    if "vision_encoder" not in p:
        name = "Ministral3ForCausalLM" if kind == "ministral3" else "MistralForCausalLM"
        return {"architectures": [name], "model_type": kind, "torch_dtype": "bfloat16", **text}
    v = p["vision_encoder"]
    keys = ["hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
            "num_channels", "image_size", "patch_size"]
    return {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3",
            "torch_dtype": "bfloat16", "text_config": {"model_type": kind, **text},
            "vision_config": {"model_type": "pixtral", "hidden_act": "silu",
                              "rope_parameters": {"rope_type": "axial", "rope_theta": v["rope_theta"]},
                              **{k: v[k] for k in keys}},
            "image_token_index": v["image_token_id"], "projector_hidden_act": "gelu",
            "multimodal_projector_bias": v["adapter_bias"], "vision_feature_layer": -1,
            "spatial_merge_size": v["spatial_merge_size"], "tie_word_embeddings": False}


def logits(folder):
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    auto = AutoModelForCausalLM if architecture.endswith("CausalLM") else AutoModelForImageTextToText
    model, info = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                       output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([IDS])).logits[0].float().numpy()


def bf16(tensors):
    return {k: torch.from_numpy(np.ascontiguousarray(v)).to(torch.bfloat16) for k, v in tensors.items()}


def write(out, name, p, tensors, twins):
    hf = twins / name
    hf.mkdir(parents=True)
    twin = {}
    for native, w in tensors.items():
        to, heads = native_name(native, p)
        twin[to] = halves(w, heads) if heads else w
    save_file(bf16(twin), hf / "model.safetensors", metadata={"format": "pt"})
    (hf / "config.json").write_text(json.dumps(config(p), indent=2))
    sums = {k: hashlib.sha256(v.view(torch.uint16).numpy().tobytes()).hexdigest()
            for k, v in sorted(bf16(twin).items())}
    rows = [[float(f"{v:.7g}") for v in row] for row in logits(hf).tolist()]
    (out / f"{name}.params.json").write_text(json.dumps(p, indent=4))
    (out / f"{name}.json").write_text(json.dumps(
        {"config": config(p), "sha256": sums, "ids": IDS, "logits": rows}))


def main():
    out = pathlib.Path(sys.argv[1])
    twins = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    small = {**TEXT, "rope_theta": 10000.0, "max_position_embeddings": 32}
    unscaled = {**YARN, "apply_scale": False}
    cases = {
        "small": dict(TEXT),
        "window": {**TEXT, "rope_theta": 10000.0, "sliding_window": 6},
        "yarn": {**small, "yarn": YARN},
        "yarn-unscaled": {**small, "yarn": unscaled},
        "ministral": {**small, "yarn": unscaled,
                      "llama_4_scaling": {"beta": 0.1, "original_max_position_embeddings": 8}},
        "vision": {**TEXT, "vision_encoder": VISION},
    }
    rng = np.random.default_rng(1)
    text = text_tensors(TEXT, rng)
    both = text | vision_tensors(cases["vision"], rng)
    out.mkdir(parents=True, exist_ok=True)
    save_file(bf16(text), out / "text.safetensors")
    save_file(bf16({k: v for k, v in both.items() if k not in text}), out / "vision.safetensors")
    moe = {**TEXT, "hidden_dim": 16, "moe": {"num_experts": 3, "num_experts_per_tok": 2}}
    experts = expert_tensors(moe, text, rng)
    save_file(bf16(experts), out / "moe.safetensors")
    for name, p in cases.items():
        write(out, name, p, both if name == "vision" else text, twins)
    write(out, "moe", moe, experts, twins)


main()
