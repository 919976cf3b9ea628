"""Helpers of the Python tests in this folder: a large file, a process caught in the middle of its
work. Standard library only.

"In the middle" is found without sleeping for a guessed time: the parent looks for the file that the
child makes first, and acts when it appears. A child that was already done is not counted; the
attempt is made again."""
import array
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

ATTEMPTS = 20


def check(ok, what):
    if not ok:
        sys.exit(f"FAILED: {what}")


def write_large(path, megabytes, seed=1):
    """A .safetensors file of f32 matrices that look like weights."""
    rng = random.Random(seed)
    block = array.array("f", (rng.gauss(0, 0.02) for _ in range(65536))).tobytes()
    header, offset = {}, 0
    for i in range(megabytes // 4):
        header[f"model.layers.{i}.mlp.up_proj.weight"] = {
            "dtype": "F32", "shape": [1024, 1024], "data_offsets": [offset, offset + (4 << 20)]}
        offset += 4 << 20
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for i in range(offset // len(block)):
            f.write(block[i % 251 * 4:] + block[:i % 251 * 4])


def temporaries(name):
    """Temporary outputs of `name` in this folder."""
    return [n for n in os.listdir(".") if n.startswith(f".{name}.mtk-tmp.")]


def remove(*names):
    for name in names:
        shutil.rmtree(name, ignore_errors=True)
        if os.path.exists(name):
            os.remove(name)


def digest(path):
    """sha256 of a file, or of every file of a folder but the record of how it was made."""
    if os.path.isdir(path):
        return {n: digest(os.path.join(path, n)) for n in sorted(os.listdir(path))
                if n != "provenance.json"}
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(
            hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


def catch(command, begun, sig, stdout=subprocess.DEVNULL):
    """Runs the command, sends `sig` as soon as begun() is true, and returns (exit code, stderr), or
    None when the command was done before."""
    child = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    while not begun() and child.poll() is None:
        time.sleep(0)  # lets the child run; begun() decides
    if child.poll() is None:
        child.send_signal(sig)
    _, err = child.communicate(timeout=300)
    return None if child.returncode == 0 else (child.returncode, err)


def catch_again(prepare, command, begun, sig):
    """catch() until it caught the command in the middle."""
    for _ in range(ATTEMPTS):
        prepare()
        caught = catch(command, begun, sig)
        if caught:
            return caught
    sys.exit(f"FAILED: {ATTEMPTS} times done before {signal.Signals(sig).name}: {command}")


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stderr}")
    return done.stdout
