#!/usr/bin/env python3
"""Writes archives with a small safetensors file in them: good ones, and hostile ones. Standard
library only (zstd by the program, where it is installed).

  make_archive_corpus.py OUT_FOLDER

formats/archive/corpus was made by it; tests/cli/archives.sh makes them again and says which must be
refused.
"""
import gzip
import io
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile

OUT = pathlib.Path(sys.argv[1])


def model():
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}})
    header += " " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header.encode() + struct.pack("<8f", *range(8))


def tar(members, style=tarfile.PAX_FORMAT):
    """members: (name, data, attributes of TarInfo)"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as t:
        for name, data, *attributes in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in (attributes[0] if attributes else {}).items():
                setattr(info, key, value)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(members, method):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members:
            z.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    m = model()
    folder = [("model/README.md", b"text"), ("model/model.safetensors", m)]
    deep = "a" * 120 + "/" + "b" * 120 + "/model.safetensors"
    link = {"type": tarfile.SYMTYPE, "linkname": "model.safetensors"}
    hard = {"type": tarfile.LNKTYPE, "linkname": "model/model.safetensors"}
    bomb = [("model.safetensors", m), ("zeros", bytes(4 << 20))]
    files = {
        "good.tar": tar(folder), "good_ustar.tar": tar(folder, tarfile.USTAR_FORMAT),
        "good_gnu.tar": tar([(deep, m)], tarfile.GNU_FORMAT), "good_pax.tar": tar([(deep, m)]),
        "good_dot.tar": tar([("./model.safetensors", m)]), "good_file.tar": tar([("x.st", m)]),
        "good.tar.gz": gzip.compress(tar(folder), mtime=0),
        "good_stored.zip": zipped(folder, zipfile.ZIP_STORED),
        "good_deflated.zip": zipped(folder, zipfile.ZIP_DEFLATED),
        "evil_up.tar": tar([("../model.safetensors", m)]),
        "evil_inner_up.tar": tar([("a/../../model.safetensors", m)]),
        "evil_absolute.tar": tar([("/tmp/model.safetensors", m)]),
        "evil_symlink.tar": tar([("model.safetensors", m), ("x", b"", link)]),
        "evil_hardlink.tar": tar(folder + [("x", b"", hard)]),
        "evil_device.tar": tar([("x", b"", {"type": tarfile.CHRTYPE})]),
        "evil_twice.tar": tar([("model.safetensors", m), ("model.safetensors", m)]),
        "evil_file_folder.tar": tar([("a", b"x"), ("a/model.safetensors", m)]),
        "evil_empty.tar": tar([]), "evil_nothing.tar": tar([("readme", b"no model")]),
        "evil_nested.zip": zipped([("inner.tar", tar(folder))], zipfile.ZIP_STORED),
        "evil_up.zip": zipped([("../model.safetensors", m)], zipfile.ZIP_DEFLATED),
        "evil_cut.tar": tar(folder)[:700], "evil_cut.tar.gz": gzip.compress(tar(folder))[:90],
    }
    if len(sys.argv) > 2:  # too large for the corpus
        files["evil_bomb.tar.gz"] = gzip.compress(tar(bomb), mtime=0)
    for name, data in files.items():
        (OUT / name).write_bytes(data)
    if shutil.which("zstd"):
        (OUT / "good.tar.zst").write_bytes(
            subprocess.run(["zstd", "-c"], input=tar(folder), capture_output=True,
                           check=True).stdout)


main()
