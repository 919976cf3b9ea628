#!/usr/bin/env python3
"""Runs commands and prints their memory and speed as a table: for big_convert.sh.

  big_convert.py run BYTES NAME COMMAND...    time, CPU time, GB/s, and the largest RssAnon and RssFile seen in
                                              /proc/PID/status (every 20 ms), as one JSON line
  big_convert.py same FOLDER FOLDER           the same tensors with the same bytes
  big_convert.py table LINES.jsonl            the lines as a table, speed as a share of cp's
"""
import json
import mmap
import pathlib
import resource
import struct
import subprocess
import sys
import time


def run(n_bytes, name, command):
    start, peak = time.monotonic(), {"RssAnon": 0, "RssFile": 0}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            for line in open(f"/proc/{process.pid}/status"):
                key, _, value = line.partition(":")
                if key in peak:
                    peak[key] = max(peak[key], int(value.split()[0]) * 1024)
        except OSError:
            pass
        time.sleep(0.02)
    seconds = time.monotonic() - start
    if process.returncode:
        sys.exit(process.returncode)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"name": name, "seconds": seconds, "bytes": n_bytes,
                      "cpu": used.ru_utime + used.ru_stime, **peak}), flush=True)


def tensors(folder):
    """name -> (entry, bytes) over all safetensors files."""
    out = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with open(path, "rb") as f:
            data = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        n = struct.unpack("<Q", data[:8])[0]
        for name, e in json.loads(data[8:8 + n]).items():
            if name != "__metadata__":
                begin, end = (8 + n + o for o in e["data_offsets"])
                out[name] = ((e["dtype"], e["shape"]), memoryview(data)[begin:end])
    return out


def same(a, b):
    x, y = tensors(a), tensors(b)
    assert x.keys() == y.keys(), x.keys() ^ y.keys()
    for name, (entry, data) in x.items():
        assert entry == y[name][0] and data == y[name][1], name
    print(f"{len(x)} tensors have the same bytes")


def table(path):
    rows = [json.loads(line) for line in open(path)]
    copies = [r["bytes"] / r["seconds"] for r in rows if r["name"].startswith("cp")]
    cp = sum(copies) / len(copies)
    print("| what | s | GB/s | of cp | CPU s | own memory, MB | mapped pages, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        speed = r["bytes"] / r["seconds"]
        print(f"| {r['name']} | {r['seconds']:.1f} | {speed / 1e9:.2f} | {speed / cp:.2f} | "
              f"{r['cpu']:.1f} | {r['RssAnon'] / 1e6:.0f} | {r['RssFile'] / 1e6:.0f} |")


def main():
    verb = sys.argv[1]
    if verb == "run":
        run(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    elif verb == "same":
        same(sys.argv[2], sys.argv[3])
    else:
        table(sys.argv[2])


main()
