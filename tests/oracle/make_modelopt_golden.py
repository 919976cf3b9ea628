#!/usr/bin/env python3
"""What NVIDIA ModelOpt exports of a tiny model, for tests/cli/quant_layouts.sh.

  pip install torch==2.15.0 transformers==5.23.0 nvidia-modelopt==0.47.0
  make_modelopt_golden.py tests/golden/modelopt

Writes OUT/base (the model, bf16) and OUT/exports.json: for each config of ModelOpt its
hf_quant_config.json, the quantization_config of config.json, and of each tensor dtype, shape and
the SHA-256 of its bytes.
"""
import copy
import hashlib
import json
import pathlib
import struct
import sys
import tempfile

import modelopt.torch.quantization as mtq
import torch
import transformers
from modelopt.torch.export import export_hf_checkpoint
from modelopt.torch.quantization.utils import update_quant_cfg_with_kv_cache_quant

CONFIGS = ["NVFP4_DEFAULT_CFG", "W4A16_NVFP4_CFG", "W4A8_NVFP4_FP8_CFG", "FP8_DEFAULT_CFG",
           "FP8_PER_CHANNEL_PER_TOKEN_CFG", "MXFP8_DEFAULT_CFG"]
CACHE = ["NVFP4_DEFAULT_CFG"]  # also with an fp8 cache


def tensors(file):
    data = file.read_bytes()
    n, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n])
    out = {}
    for name, t in sorted(header.items()):
        if name != "__metadata__":
            begin, end = (8 + n + at for at in t["data_offsets"])
            out[name] = [t["dtype"], t["shape"], hashlib.sha256(data[begin:end]).hexdigest()]
    return out


def export(base, name, cache, folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).eval()
    config = copy.deepcopy(getattr(mtq, name))
    if cache:
        config = update_quant_cfg_with_kv_cache_quant(config, mtq.FP8_KV_CFG["quant_cfg"])
    ids = torch.arange(32).reshape(1, 32)
    model = mtq.quantize(model, config, lambda m: m(ids))
    export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=folder)
    folder = pathlib.Path(folder)
    return {"hf_quant_config": json.loads((folder / "hf_quant_config.json").read_text()),
            "quantization_config":
                json.loads((folder / "config.json").read_text())["quantization_config"],
            "tensors": tensors(folder / "model.safetensors")}


def main():
    torch.set_num_threads(1)
    torch.manual_seed(5)
    out = pathlib.Path(sys.argv[1])
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=64, intermediate_size=128, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=64,
        tie_word_embeddings=False, initializer_range=0.1)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(out / "base")
    exports = {}
    for name, cache in [(c, False) for c in CONFIGS] + [(c, True) for c in CACHE]:
        with tempfile.TemporaryDirectory() as folder:
            exports[name + ("+cache" if cache else "")] = export(out / "base", name, cache, folder)
    (out / "exports.json").write_text(json.dumps(exports, indent=1) + "\n")


main()
