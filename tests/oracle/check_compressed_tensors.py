#!/usr/bin/env python3
"""Quantized folders and the compressed-tensors package (needs torch, safetensors, compressed_tensors).

  check_compressed_tensors.py read DIR PLAIN PRESET  what the package makes of a folder written by mtk
                                equals PLAIN (the same, dequantized by mtk to f32), and the config
                                group is the package's own preset of that name
  check_compressed_tensors.py make DIR    folders DIR/NAME, compressed by the package, each with
                                DIR/NAME.plain.safetensors: what the package makes of it again
  check_compressed_tensors.py same A B    two safetensors files (f32) hold the same values, bit for
                                bit after rounding to the narrower type
  check_compressed_tensors.py tiny DIR    a random llama in bf16 (needs transformers)
  check_compressed_tensors.py load DIR PLAIN   transformers loads DIR; weights and logits are those of
                                the folder PLAIN
"""
import json
import pathlib
import sys

import safetensors.torch
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.quant_scheme import preset_name_to_scheme

PARTS = ("weight", "weight_packed", "weight_scale", "weight_global_scale", "weight_zero_point",
         "weight_shape", "input_global_scale", "input_scale")


def load(folder):
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(safetensors.torch.load_file(file))
    return tensors


def modules(tensors):
    """{module: {part: tensor}} of all that have a scale."""
    out = {}
    for name in tensors:
        if name.endswith(".weight_scale"):
            module = name[: -len(".weight_scale")]
            out[module] = {p: tensors[f"{module}.{p}"] for p in PARTS if f"{module}.{p}" in tensors}
    return out


def config_of(folder):
    raw = json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"]
    return QuantizationConfig.model_validate(raw)


def scheme_of(config, module):
    for group in config.config_groups.values():
        if module in group.targets or group.targets == ["Linear"]:
            return group
    raise AssertionError(f"no group targets {module}")


def same(module, want, have, exact):
    """want: the package's; have: mtk's f32 values."""
    have = have.to(want.dtype)
    assert want.shape == have.shape, f"{module}: {want.shape}, mtk {have.shape}"
    if torch.equal(want, have):
        return 0
    bad = want != have
    n = int(bad.sum())
    near = torch.allclose(want[bad].float(), have[bad].float(), rtol=2 ** -7, atol=0)
    assert not exact and near and n < want.numel() * 1e-3, (
        f"{module}: {n} of {want.numel()} values differ")
    return n


def read(folder, plain, preset):
    config, plain = config_of(folder), safetensors.torch.load_file(plain)
    parts, rounded = modules(load(folder)), 0
    assert parts, f"{folder}: nothing is quantized"
    for module, state in parts.items():
        scheme = scheme_of(config, module)
        assert scheme.format, f"{module}: its group names no format"
        compressor = BaseCompressor.get_value_from_registry(scheme.format)
        need = set(compressor.compression_param_names(scheme))
        # a scale whose reciprocal is stored: the package divides by it, mtk multiplies
        exact = "weight_global_scale" not in state
        assert need <= set(state), f"{module}: {need - set(state)} missing"
        value = compressor.decompress(state, scheme)["weight"]
        rounded += same(module, value, plain[f"{module}.weight"], exact)
    if preset != "-":
        group = next(iter(config.config_groups.values()))
        want = preset_name_to_scheme(preset, group.targets).model_dump()
        have = group.model_dump()
        want["format"] = have["format"]
        assert want == have, f"{folder}: {have}\nnot preset {preset}: {want}"
    print(f"{folder}: {len(parts)} modules equal, {rounded} values in another last bit of bf16")


CASES = {  # name: preset, rows, columns
    "nvfp4a16": ("NVFP4A16", 48, 128), "nvfp4": ("NVFP4", 48, 128),
    "mxfp4": ("MXFP4A16", 48, 96), "mxfp8": ("MXFP8A16", 48, 96),
    "fp8": ("FP8", 40, 72), "fp8-dynamic": ("FP8_DYNAMIC", 40, 72),
    "fp8-block": ("FP8_BLOCK", 200, 300), "int4": ("W4A16", 40, 256),
    "int4-asym": ("W4A16_ASYM", 41, 256), "int8": ("W8A8", 40, 96), "int8-a16": ("W8A16", 40, 256),
    "int3": ("W3A16", 24, 256), "int2": ("W2A16", 24, 256), "int6": ("W6A16", 24, 256),
}


def ranges(weight, args):
    """min and max per scale."""
    n, k = weight.shape
    if args.strategy == "tensor":
        groups = weight.reshape(1, -1)
    elif args.strategy == "channel":
        groups = weight.reshape(n, 1, k)
    elif args.strategy == "block":
        padded = torch.zeros(-(-n // 128) * 128, -(-k // 128) * 128, dtype=weight.dtype)
        padded[:n, :k] = weight
        groups = padded.reshape(padded.shape[0] // 128, 128, -1, 128).transpose(1, 2).flatten(2)
    else:
        groups = weight.reshape(n, k // args.group_size, args.group_size)
    return groups.amin(-1), groups.amax(-1)


def make(folder):
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    torch.manual_seed(1)
    for name, (preset, n, k) in CASES.items():
        scheme = preset_name_to_scheme(preset, ["Linear"])
        args = scheme.weights
        weight = (torch.randn(n, k) * 0.05).to(torch.bfloat16)
        weight[0, :] *= 20
        low, high = ranges(weight, args)
        state = {"weight": weight}
        if preset.startswith("NVFP4"):
            state["weight_global_scale"] = generate_gparam(weight.amin().float(), weight.amax().float())
            if scheme.input_activations:
                state["input_global_scale"] = torch.tensor([123.0])
        scale, zero = calculate_qparams(low, high, args, state.get("weight_global_scale"))
        state["weight_scale"] = scale
        if not args.symmetric:
            state["weight_zero_point"] = zero.to(torch.int8)
        if preset == "FP8":
            state["input_scale"] = torch.tensor([0.25])
        scheme.format = infer_module_format(torch.nn.Linear, scheme)
        compressor = BaseCompressor.get_value_from_registry(scheme.format)
        compressed = compressor.compress(dict(state), scheme)
        plain = compressor.decompress(dict(compressed), scheme)["weight"]
        out = pathlib.Path(folder) / name
        out.mkdir(parents=True)
        file = {f"m.{key}": value.contiguous() for key, value in compressed.items() if value is not None}
        safetensors.torch.save_file(file, out / "model.safetensors")
        config = QuantizationConfig(config_groups={"group_0": scheme}, format=scheme.format,
                                    quantization_status="compressed")
        (out / "config.json").write_text(json.dumps(
            {"quantization_config": config.model_dump(mode="json")}, indent=1, default=str))
        safetensors.torch.save_file({"m.weight": plain.contiguous()}, f"{folder}/{name}.plain.safetensors")


def same_files(a, b):
    a, b = (safetensors.torch.load_file(f) for f in (a, b))
    assert set(a) == set(b), f"{set(a)} and {set(b)}"
    for name in a:
        narrow = min(a[name], b[name], key=lambda t: t.element_size())
        wide = b[name] if narrow is a[name] else a[name]
        n = same(name, narrow, wide, False)
        print(f"{name}: {narrow.numel()} values, {n} in another last bit of {narrow.dtype}")


def logits(model):
    ids = torch.arange(40).reshape(2, 20) * 7 % 96
    with torch.no_grad():
        return model.eval()(ids).logits


def load_folder(folder, plain):
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True,
        quantization_config=transformers.CompressedTensorsConfig(run_compressed=False))
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    reference = transformers.AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
    have = {name: p.detach() for name, p in model.named_parameters()}
    n = 0
    for name, p in reference.named_parameters():
        if name not in have:
            continue
        n += int((have[name].float() != p.detach().to(have[name].dtype).float()).sum())
    a, b = logits(model), logits(reference)
    error = float((a - b).abs().max() / b.abs().max())
    print(f"{folder}: {n} weights differ, logits by {error:.2e} of the largest")
    assert n == 0 and error == 0, "other logits"


def tiny(folder):
    import transformers
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=False)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def main():
    torch.set_num_threads(1)
    verb, rest = sys.argv[1], sys.argv[2:]
    {"read": read, "make": make, "same": same_files, "load": load_folder,
     "tiny": tiny}[verb](*rest)


main()
