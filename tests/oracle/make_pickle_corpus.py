#!/usr/bin/env python3
"""Writes formats/torch/corpus: good checkpoints of torch.save, and hostile pickles.

  make_pickle_corpus.py OUT_FOLDER

Needs torch for the good ones (skipped with a message without it). The hostile ones are made by
hand, opcode by opcode: nothing here runs them. tests/unit/test_torch.c names what must be refused.
"""
import hashlib
import io
import pathlib
import pickle
import struct
import sys
import zipfile

OUT = pathlib.Path(sys.argv[1])
SUMS = pathlib.Path(__file__).parent.parent / "golden/formats/torch_good.sha256"


def call(module, name, argument=b"X\x02\x00\x00\x00id"):
    return b"\x80\x02c" + module + b"\n" + name + b"\n" + argument + b"\x85R."


class Reduce:
    def __reduce__(self):
        return eval, ("1+1",)


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"


def tensor(count, offset, sizes, strides):
    """A state dict {"w": tensor} whose numbers are pickled as they are given."""
    def number(i):
        return pickle.dumps(i, 2)[2:-1]

    def numbers(items):
        return b"(" + b"".join(number(i) for i in items) + b"t"
    return (b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE +
            number(count) + b"tQ" + number(offset) + numbers(sizes) + numbers(strides) +
            b"\x89ccollections\nOrderedDict\n)RtRs.")


EVIL = {
    "os_system": call(b"os", b"system"),
    "builtins_eval": call(b"builtins", b"eval"),
    "posix_system": call(b"posix", b"system"),
    "reduce": pickle.dumps(Reduce(), 2),
    "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
    "inst": b"(X\x02\x00\x00\x00idios\nsystem\n.",
    "obj": b"(cos\nsystem\nX\x02\x00\x00\x00ido.",
    "newobj_ex": b"\x80\x04ctorch\nSize\n)}\x92.",
    "ext": b"\x80\x02\x82\x01.",
    "never_called": b"\x80\x02cos\nsystem\n0}.",
    "dotted": b"\x80\x04\x8c\x05torch\x8c\x0bload.system\x93.",
    "hidden_in_zip": None,
    "dtype_called": b"\x80\x02ctorch\nfloat32\n)R.",
    "deep": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "own_member": b"\x80\x02]q\x00h\x00a.",
    "memo_bomb": b"\x80\x02]r\xff\xff\xff\x7f.",
    "doubling": b"\x80\x02]]a" + b"q\x00\x5d(h\x00h\x00e" * 60 + b".",
    "huge_text": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "huge_text8": b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"a.",
    "huge_long": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "no_stop": b"\x80\x02}q\x00",
    "empty_stack": b"\x80\x02.",
    "marks": b"\x80\x02" + b"(" * 3000 + b"t.",
    "pop_below_mark": b"\x80\x02K\x01(0000.",
    "odd_dict": b"\x80\x02(K\x01d.",
    "bad_global": b"\x80\x02cos\n",
    "protocol_9": b"\x80\x09N.",
    "not_a_checkpoint": pickle.dumps({"a": 1}, 2),
}
TENSORS = {  # elements of the storage (8 in the file), offset, sizes, strides
    "beyond": (8, 4, (5,), (1,)),
    "huge_shape": (8, 0, (2**40, 2**40), (1, 1)),
    "huge_stride": (8, 0, (2, 2), (2**62, 1)),
    "negative": (8, -1, (2,), (1,)),
    "expanded": (8, 0, (2**34,), (0,)),
    "ranks": (8, 0, (1,) * 9, (1,) * 9),
    "mismatch": (8, 0, (2, 2), (1,)),
    "more_than_file": (9, 0, (9,), (1,)),
    "overflow": (2**62, 0, (2,), (1,)),
}


def archive(pickled, method=zipfile.ZIP_STORED, extra=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        items = [("x/data.pkl", pickled), ("x/byteorder", b"little"),
                 ("x/data/0", struct.pack("<8f", *range(8)))]
        for name, data in items + list(extra):
            z.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def sums(model, other):
    """name, shape and SHA-256 of the f32 values of each tensor that has such values."""
    lines = []
    for name, t in [(f"model.{k}", v) for k, v in model.items()] + [
            ("optimizer.state.0.exp_avg", other)]:
        if t.is_complex():
            continue
        values = t.detach().float().contiguous().numpy().astype("<f4").tobytes()
        dims = "x".join(map(str, t.shape)) or "scalar"
        lines.append(f"{name} {dims} {hashlib.sha256(values).hexdigest()}\n")
    SUMS.write_text("".join(lines))


def good():
    try:
        import torch
    except ImportError:
        print("SKIP: no torch, the good checkpoints stay as they are")
        return
    import collections
    w = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    model = collections.OrderedDict(
        w=w, turned=w.permute(2, 0, 1), part=w[:, 1, 1:3], scalar=torch.tensor(3.5).bfloat16(),
        empty=torch.zeros(0, 4), expanded=torch.tensor([[1., 2., 3.]]).expand(4, 3),
        ids=torch.arange(5), f8=torch.arange(8).to(torch.float8_e4m3fn),
        u16=torch.arange(3).to(torch.uint16), flag=torch.tensor([True, False]),
        complex=torch.complex(torch.ones(2), torch.arange(2.)),
        parameter=torch.nn.Parameter(torch.ones(3).half()))
    model._metadata = {"": {"version": 1}}
    full = {"model": model, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}},
                                          "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
            "epoch": 3, "tag": "x", "none": None}
    torch.save(full, OUT / "good.pt")
    sums(model, full["optimizer"]["state"][0]["exp_avg"])
    torch.save(full, OUT / "good_protocol4.pt", pickle_protocol=4)
    torch.save(full, OUT / "good_old.pt", _use_new_zipfile_serialization=False)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    good()
    for name, data in EVIL.items():
        if data is None:
            data = archive(call(b"os", b"system"))
        (OUT / f"evil_{name}.pkl").write_bytes(data)
    for name, numbers in TENSORS.items():
        (OUT / f"tensor_{name}.pt").write_bytes(archive(tensor(*numbers)))
    for name in ("deep", "own_member", "doubling"):
        (OUT / f"zip_{name}.pt").write_bytes(archive(EVIL[name]))
    fine = archive(tensor(8, 0, (2, 4), (4, 1)))
    (OUT / "zip_fine.pt").write_bytes(fine)
    (OUT / "zip_cut.pt").write_bytes(fine[:-30])
    (OUT / "zip_deflated.pt").write_bytes(
        archive(tensor(8, 0, (2, 4), (4, 1)), zipfile.ZIP_DEFLATED))
    (OUT / "zip_big_endian.pt").write_bytes(
        fine.replace(b"little", b"big   "))
    (OUT / "zip_no_storage.pt").write_bytes(fine.replace(b"x/data/0", b"x/data/1"))


main()
