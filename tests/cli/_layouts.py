"""Safetensors files for tests/cli/quant_layouts.sh, without packages.

  _layouts.py same A B                  the same tensors: names, types, shapes, bytes
  _layouts.py export EXPORTS NAME DIR   DIR holds what ModelOpt exports (make_modelopt_golden.py);
                                        bytes are compared where nothing was calibrated
  _layouts.py scales DIR SUFFIX...      prints the values of the f32 tensors with these endings
  _layouts.py scale FILE NAME FACTOR    multiplies a tensor of one f32 in a file
  _layouts.py bad DIR                   DIR/CASE: folders that must be refused
  _layouts.py spread DIR LOW HIGH       an MXFP4 module whose scales are 2^LOW and 2^HIGH
"""
import hashlib
import json
import pathlib
import struct
import sys


def read(path):
    path = pathlib.Path(path)
    data = (path / "model.safetensors" if path.is_dir() else path).read_bytes()
    n, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + n + t["data_offsets"][0]:
                                                8 + n + t["data_offsets"][1]])
            for name, t in header.items()}


def write(folder, tensors):
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def same(a, b):
    a, b = read(a), read(b)
    bad = [name for name in sorted(set(a) | set(b)) if a.get(name) != b.get(name)]
    for name in bad[:5]:
        print(name, *(t[name][:2] if name in t else "absent" for t in (a, b)))
    sys.exit(1 if bad else 0)


def export(exports, name, folder):
    want, folder = json.loads(pathlib.Path(exports).read_text())[name], pathlib.Path(folder)
    have = read(folder)
    assert set(have) == set(want["tensors"]), set(have) ^ set(want["tensors"])
    for tensor, (dtype, shape, sha256) in want["tensors"].items():
        assert list(have[tensor][:2]) == [dtype, shape], f"{tensor}: {have[tensor][:2]}"
        measured = tensor.endswith((".input_scale", ".k_scale", ".v_scale"))
        # ModelOpt divides by a scalar in bf16 there, which rounds twice, and gate and up do not
        # share their scale
        measured |= name.startswith("FP8_DEFAULT") and "_proj." in tensor
        assert measured or hashlib.sha256(have[tensor][2]).hexdigest() == sha256, (
            f"{tensor}: other bytes")
    for file, key, path in (("hf_quant_config.json", "hf_quant_config", []),
                            ("config.json", "quantization_config", ["quantization_config"])):
        value = json.loads((folder / file).read_text())
        for part in path:
            value = value[part]
        assert value == want[key], f"{file}: {value}\nModelOpt: {want[key]}"


def scales(folder, *suffixes):
    for name, (dtype, _, data) in sorted(read(folder).items()):
        if name.endswith(suffixes) and dtype == "F32":
            print(name, *struct.unpack(f"<{len(data) // 4}f", data))


def scale(path, name, factor):
    path = pathlib.Path(path)
    data = bytearray(path.read_bytes())
    n, = struct.unpack("<Q", data[:8])
    at = 8 + n + json.loads(data[8:8 + n])[name]["data_offsets"][0]
    value, = struct.unpack_from("<f", data, at)
    struct.pack_into("<f", data, at, value * float(factor))
    path.write_bytes(data)


def spread(folder, low, high):
    scales_ = bytes((int(low) + 127, int(high) + 127))
    write(folder, {"m.weight_packed": ("U8", [1, 32], bytes(range(32))),
                   "m.weight_scale": ("U8", [1, 2], scales_)})


def bad(folder):
    f32 = struct.pack("<f", 64.0)
    nv = {"m.weight_packed": ("U8", [2, 32], bytes(64)),
          "m.weight_scale": ("F8_E4M3", [2, 4], b"\x38" * 8),
          "m.weight_global_scale": ("F32", [1], f32)}
    ints = {"m.weight_packed": ("I32", [2, 16], bytes(128)),
            "m.weight_scale": ("BF16", [2, 1], b"\x80\x3f" * 2),
            "m.weight_shape": ("I64", [2], struct.pack("<2q", 2, 128))}
    fp8 = {"m.weight": ("F8_E4M3", [2, 64], bytes(128)), "m.weight_scale": ("F32", [1], f32)}
    g_idx = struct.pack("<128i", *(i % 2 for i in range(128)))
    cases = {
        "no-scale": {k: v for k, v in nv.items() if k != "m.weight_scale"},
        "no-global": {k: v for k, v in nv.items() if k != "m.weight_global_scale"},
        "short-scale": nv | {"m.weight_scale": ("F8_E4M3", [2, 3], bytes(6))},
        "scale-type": nv | {"m.weight_scale": ("I32", [2, 4], bytes(32))},
        "negative-scale": nv | {"m.weight_scale": ("F8_E4M3", [2, 4], b"\xb8" * 8)},
        "zero-global": nv | {"m.weight_global_scale": ("F32", [1], bytes(4))},
        "two-globals": nv | {"m.weight_global_scale": ("F32", [2], f32 * 2)},
        "odd-row": {"m.weight_packed": ("U8", [2, 20], bytes(40)),
                    "m.weight_scale": ("U8", [2, 2], bytes(4))},
        "no-shape": {k: v for k, v in ints.items() if k != "m.weight_shape"},
        "wrong-shape": ints | {"m.weight_shape": ("I64", [2], struct.pack("<2q", 2, 100))},
        "int-rows": ints | {"m.weight_shape": ("I64", [2], struct.pack("<2q", 3, 128))},
        "int-scale": ints | {"m.weight_scale": ("BF16", [2, 3], bytes(12))},
        "small-groups": ints | {"m.weight_scale": ("BF16", [2, 8], bytes(32))},
        "actorder": ints | {"m.weight_scale": ("BF16", [2, 2], bytes(8)),
                            "m.weight_g_idx": ("I32", [128], g_idx)},
        "zero-points": ints | {"m.weight_zero_point": ("I32", [2, 1], bytes(8))},
        "fp8-grid": fp8 | {"m.weight_scale": ("F32", [3], f32 * 3)},
        "fp8-zeros": fp8 | {"m.weight_zero_point": ("F32", [1], f32)},
        "pre-quant": fp8 | {"m.pre_quant_scale": ("F32", [64], f32 * 64)},
        "gptq": {"m.qweight": ("I32", [16, 2], bytes(128))},
    }
    for name, tensors in cases.items():
        write(pathlib.Path(folder) / name, tensors)


verbs = {"same": same, "export": export, "scales": scales, "scale": scale, "bad": bad,
         "spread": spread}
verbs[sys.argv[1]](*sys.argv[2:])
