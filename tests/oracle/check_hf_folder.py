#!/usr/bin/env python3
"""Model folders in transformers (needs torch, transformers, safetensors).

  check_hf_folder.py make DIR           a tiny random llama: DIR/one (one file), DIR/shards, DIR/bin
                                        (pytorch_model.bin in shards)
  check_hf_folder.py same DIR OTHER...  all load in transformers without a missing or unexpected
                                        tensor and give the same logits, bit for bit
"""
import pathlib
import sys

import safetensors.torch
import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def make(folder):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=160, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=False, rope_theta=10000.0)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder / "one")
    model.save_pretrained(folder / "shards", max_shard_size="100KB")
    bin_folder = folder / "bin"
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(bin_folder)
    state = list(model.state_dict().items())
    half, names = len(state) // 2, {}
    for i, part in enumerate((state[:half], state[half:]), 1):
        name = f"pytorch_model-{i:05}-of-00002.bin"
        torch.save(dict(part), bin_folder / name)
        names.update({key: name for key, _ in part})
    import json
    index = {"metadata": {"total_size": sum(t.numel() * 4 for _, t in state)}, "weight_map": names}
    (bin_folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")


def logits(folder):
    files = sorted(pathlib.Path(folder).glob("*.safetensors"))
    for file in files:
        assert safetensors.torch.load_file(file), file
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[key], f"{folder}: {key} {info[key]}"
    ids = torch.arange(40).reshape(2, 20) * 7 % 96
    with torch.no_grad():
        return model.eval()(ids).logits


def main():
    verb, first = sys.argv[1], pathlib.Path(sys.argv[2])
    torch.set_num_threads(1)
    if verb == "make":
        make(first)
        return
    want = logits(first)
    for other in sys.argv[3:]:
        have = logits(other)
        assert want.shape == have.shape and torch.equal(want, have), (
            f"{other}: largest difference {(want - have).abs().max()}")
        print(f"{other}: {want.numel()} logits equal")


main()
