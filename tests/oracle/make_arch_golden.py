"""Log-probabilities of small models of each architecture, by transformers in f32 (tests/golden/arch/*.json).

A golden holds config.json, the names and shapes of the tensors in the folder that transformers writes, a seed and
what the model gives; the weights follow from the seed (tests/cli/_arch.py), so nothing large is committed.

    python tests/oracle/make_arch_golden.py [NAME...]      (all rows of MODELS without names)

Needs: pip install torch transformers safetensors (made with transformers 5.23, torch 2.15). To add an
architecture, add a row: what differs from the defaults of its configuration class, and norm_base (1, or 0 where
norms are stored minus one).
"""
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

SMALL = dict(vocab_size=64, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16, rope_theta=500.0)
# name: (class without "ForCausalLM", norm_base, config)
MODELS = {
    "llama3": ("Llama", 1, dict(SMALL, rope_parameters=LLAMA3)),
    # As Mistral Small 3 and Magistral Small 24B: heads * head_dim is not the width.
    "mistral": ("Mistral", 1, dict(SMALL, head_dim=16, sliding_window=None, rope_theta=1e6)),
    "mistral-window": ("Mistral", 1, dict(SMALL, sliding_window=8)),
    "qwen2": ("Qwen2", 1, dict(SMALL, use_sliding_window=True, sliding_window=6, max_window_layers=1,
                               tie_word_embeddings=True)),
    "qwen3": ("Qwen3", 1, dict(SMALL, head_dim=16)),
    "gemma2": ("Gemma2", 0, dict(SMALL, head_dim=16, num_hidden_layers=4, sliding_window=8, query_pre_attn_scalar=10,
                                 attn_logit_softcapping=1.5, final_logit_softcapping=2.0)),
    "gemma3": ("Gemma3", 0, dict(SMALL, head_dim=16, num_hidden_layers=7, sliding_window=8, query_pre_attn_scalar=20,
                                 rope_parameters={
                                     "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
                                     "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}})),
    "phi3": ("Phi3", 1, dict(SMALL, sliding_window=9)),
    "phi3-longrope": ("Phi3", 1, dict(SMALL, hidden_size=64, original_max_position_embeddings=16,
                                      rope_parameters=dict(
                                          rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                                          short_factor=[1.0, 1.05, 1.1, 1.2, 1.4, 1.7],
                                          long_factor=[1.1, 1.5, 2.0, 3.5, 6.0, 9.0]))),
    "mixtral": ("Mixtral", 1, dict(SMALL, hidden_size=64, intermediate_size=64, num_local_experts=6,
                                   num_experts_per_tok=2, sliding_window=None, rope_theta=1e4)),
    # The second layer is dense.
    "qwen3moe": ("Qwen3Moe", 1, dict(SMALL, head_dim=16, moe_intermediate_size=32, num_experts=8,
                                     num_experts_per_tok=3, norm_topk_prob=True, mlp_only_layers=[1])),
    "qwen3moe-nonorm": ("Qwen3Moe", 1, dict(SMALL, head_dim=16, num_hidden_layers=2, moe_intermediate_size=32,
                                            num_experts=8, num_experts_per_tok=3, norm_topk_prob=False)),
    "qwen2moe": ("Qwen2Moe", 1, dict(SMALL, moe_intermediate_size=32, shared_expert_intermediate_size=40,
                                     num_experts=8, num_experts_per_tok=3)),
    "gpt-oss": ("GptOss", 1, dict(SMALL, hidden_size=64, head_dim=16, intermediate_size=32, num_local_experts=6,
                                  num_experts_per_tok=3, sliding_window=8, rope_parameters=dict(
                                      rope_type="yarn", rope_theta=150000.0, factor=8.0, beta_fast=32.0, beta_slow=1.0,
                                      truncate=False, original_max_position_embeddings=16))),
    # The first layer is dense; two groups of four experts, one used.
    "deepseek3": ("DeepseekV3", 1, dict(SMALL, num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=16,
                                        qk_rope_head_dim=8, qk_nope_head_dim=12, v_head_dim=10,
                                        first_k_dense_replace=1, moe_intermediate_size=32, n_routed_experts=8,
                                        n_shared_experts=2, num_experts_per_tok=3, n_group=2, topk_group=1,
                                        routed_scaling_factor=2.5, num_nextn_predict_layers=0, rope_parameters=dict(
                                            rope_type="yarn", rope_theta=10000.0, factor=8.0, beta_fast=32.0,
                                            beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
                                            original_max_position_embeddings=16))),
    "deepseek3-plain": ("DeepseekV3", 1, dict(SMALL, num_hidden_layers=2, num_key_value_heads=4, q_lora_rank=None,
                                              kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=16,
                                              first_k_dense_replace=0, moe_intermediate_size=32, n_routed_experts=6,
                                              n_shared_experts=1, num_experts_per_tok=2, n_group=1, topk_group=1,
                                              norm_topk_prob=False, num_nextn_predict_layers=0)),
}
CONFIGS = {"Gemma3": "Gemma3TextConfig"}
DROP = ("transformers_version", "dtype", "torch_dtype")  # not of the model


def shapes_in(folder):
    with safe_open(folder / "model.safetensors", "pt") as f:
        return {k: list(f.get_slice(k).get_shape()) for k in f.keys()}


def make(name, family, norm_base, options):
    torch.manual_seed(0)
    config = getattr(transformers, CONFIGS.get(family, family + "Config"))(**options)
    model_class = getattr(transformers, family + "ForCausalLM")
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(tmp)
        model_class(config).save_pretrained(folder)
        text = json.loads((folder / "config.json").read_text())
        golden = {"config": {k: v for k, v in text.items() if k not in DROP}, "seed": 20, "norm_base": norm_base,
                  "tensors": shapes_in(folder)}
        golden["ids"] = [(x & 255) % golden["config"]["vocab_size"] for x in arch.noise("ids", 1, 40)]
        arch.make(golden, tmp)
        model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(torch.tensor([golden["ids"][:-1]])).logits[0]
        logp = torch.log_softmax(logits.double(), -1)
        golden["along"] = [logp[i, t].item() for i, t in enumerate(golden["ids"][1:])]
        golden["last"] = logp[-1].tolist()
    path = ROOT / "tests/golden/arch" / f"{name}.json"
    path.write_text(json.dumps(golden, separators=(",", ":")).replace('],"', '],\n"').replace('},"', '},\n"') + "\n")
    print(f"{name}: {path.stat().st_size} bytes, {sum(map(lambda s: torch.Size(s).numel(), golden['tensors'].values()))} weights,"
          f" log-probabilities {min(golden['last']):.2f} .. {max(golden['last']):.2f}")


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        make(name, *MODELS[name])
