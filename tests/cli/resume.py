"""resume.py MTK MODEL TEXT: see resume.sh."""
import json
import os
import resource
import signal
import subprocess
import sys

from _process import catch_again, check, digest, remove, run, temporaries, write_large

MTK, MODEL, TEXT = sys.argv[1:]


def folder(out):
    return f".{out}.mtk-tmp.resume"


def journal(out):
    try:
        with open(os.path.join(folder(out), "journal")) as f:
            return [line for line in f.read().split("\n") if line]
    except OSError:
        return []


def outputs(out):
    """Digests of an output, which may be split into files."""
    stem, dot = os.path.splitext(out)
    return {n: digest(n) for n in sorted(os.listdir("."))
            if n == out or (n.startswith(stem + "-0") and n.endswith(dot))}


def clean(out):
    remove(out, folder(out), *outputs(out))


def stop(command, out, marks, sig):
    """The command, stopped when its journal has so many lines. The lines it left."""
    code, err = catch_again(lambda: None, command, lambda: len(journal(out)) >= marks, sig)
    check(code in (-signal.SIGKILL, 130), f"{command}: exit code {code}: {err}")
    check(not outputs(out), f"{command}: a half output bears the final name")
    check(journal(out), f"{command}: nothing was begun")
    return err


def resumes(name, command, out, points, sig=signal.SIGKILL):
    """Stopped at several points of one run, gone on with, the same bytes."""
    run(*command)
    whole = outputs(out)
    clean(out)
    for attempt in range(20):
        stops = 0
        for marks in points:
            before = journal(out)
            try:
                err = stop(command + (["--resume"] if stops else []), out,
                           max(marks, len(before) + 1), sig)
            except SystemExit:
                break  # was done before: from the beginning
            stops += 1
            after = journal(out)
            check(after[:len(before)] == before, f"{name}: the journal was rewritten")
            names = [line.split(" ", 2)[1:] for line in after]
            check(len(names) == len({tuple(n) for n in names}), f"{name}: made a part twice: {after}")
            check(sig != signal.SIGINT or "--resume" in err, f"{name}: does not say how to go on: {err}")
        if stops == len(points):
            break
        clean(out)
    check(stops, f"{name}: never stopped in the middle")
    if not outputs(out):
        run(*command, "--resume")
    check(outputs(out) == whole, f"{name}: the resumed run gives other bytes")
    check(not temporaries(out), f"{name}: left {temporaries(out)}")
    clean(out)
    print(f"{name}: stopped {stops} times, resumed, same bytes")


def refused(command, *words):
    done = subprocess.run(command, capture_output=True, text=True)
    check(done.returncode == 2 and done.stderr.count("\n") == 1 and all(
        w in done.stderr for w in words), f"{command}: {done}")


def other_runs():
    """Other options, another source, damaged parts, a start from the beginning."""
    command = [MTK, "quantize", "large.safetensors", "c.safetensors", "--to", "fp8", "-q"]
    run(*command)
    whole = outputs("c.safetensors")
    clean("c.safetensors")
    stop(command, "c.safetensors", 4, signal.SIGKILL)
    left = journal("c.safetensors")
    refused(command + ["--resume", "--keep", "x"], "other options", "--to=fp8")
    write_large("large.safetensors", 96, seed=2)
    refused(command + ["--resume"], "the source has changed")
    write_large("large.safetensors", 96)
    check(journal("c.safetensors")[:len(left)] == left, "a refusal damaged the journal")
    part = [n for n in os.listdir(folder("c.safetensors")) if n.startswith("part-")][0]
    with open(os.path.join(folder("c.safetensors"), part), "r+b") as f:
        f.seek(int(left[1].split()[1]) - 100)
        old = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([old[0] ^ 1]))
    with open(os.path.join(folder("c.safetensors"), "journal"), "a") as f:
        f.write("0123456789abcdef 99999999999")  # half a line
    run(*command, "--resume")
    check(outputs("c.safetensors") == whole, "a damaged part was believed")
    clean("c.safetensors")
    stop(command, "c.safetensors", 4, signal.SIGKILL)
    done = subprocess.run([c for c in command if c != "-q"], capture_output=True, text=True)
    check(done.returncode == 0 and "--resume" in done.stderr, f"starting over says nothing: {done}")
    check(outputs("c.safetensors") == whole and not temporaries("c.safetensors"),
          "starting over gives other bytes")
    clean("c.safetensors")
    print("other options and sources refused, damaged parts made anew")


def full_disk():
    """A limit on the size of files acts like a full disk."""
    for out, to in (("d.safetensors", "fp8"), ("d.gguf", "q8_0"), ("d", "fp8")):
        command = [MTK, "quantize", "large.safetensors", out, "--to", to]
        run(*command, "-q")
        whole = outputs(out)
        clean(out)
        done = subprocess.run(command + ["-q"], capture_output=True, text=True, preexec_fn=lambda:
                              resource.setrlimit(resource.RLIMIT_FSIZE, (10 << 20, 10 << 20)))
        check(done.returncode == 1 and done.stderr.count("\n") == 1 and "--resume" in done.stderr,
              f"full disk: {done}")
        check(len(journal(out)) >= 4, f"full disk: only {journal(out)} kept")
        check(not outputs(out), "full disk: left its output")
        run(*command, "--resume", "-q")
        check(outputs(out) == whole, "full disk: the resumed run gives other bytes")
        check(not temporaries(out), "full disk: left a temporary")
        clean(out)
    print("full disk: one line, resumed, same bytes")


def files_beside():
    """Importances that the interrupted run wrote: kept without --resume, replaced with it."""
    command = [MTK, "quantize", MODEL, "f.gguf", "--to", "q8_0", "--calibration", TEXT,
               "--calibration-tokens", "256", "--sequence-length", "64", "--imatrix-out",
               "im.gguf", "-q"]
    run(*command)
    whole, beside = outputs("f.gguf"), digest("im.gguf")
    remove("f.gguf", "im.gguf")
    limit = os.path.getsize(os.path.join(MODEL, "model.safetensors")) // 4
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda:
                          resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    check(done.returncode == 1 and "--resume" in done.stderr, f"files beside: {done}")
    check(digest("im.gguf") == beside, "the importances were not written before")
    left = journal("f.gguf")
    done = subprocess.run(command, capture_output=True, text=True)
    check(done.returncode == 1 and "im.gguf: exists" in done.stderr, f"files beside: {done}")
    check(left and journal("f.gguf") == left, "a refusal removed the part")
    run(*command, "--resume")
    check(outputs("f.gguf") == whole and digest("im.gguf") == beside,
          "files beside: the resumed run gives other bytes")
    check(not temporaries("f.gguf"), "files beside: left a temporary")
    remove("f.gguf", "im.gguf")
    print("with importances beside: resumed, same bytes")


def two_at_once():
    """A second process on the same output is refused while the first one works."""
    os.mkdir(folder("e.gguf"))
    import fcntl
    fd = os.open(folder("e.gguf"), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    done = subprocess.run([MTK, "convert", MODEL, "e.gguf", "-q"], capture_output=True, text=True)
    check(done.returncode == 1 and "another process" in done.stderr, f"two at once: {done}")
    os.close(fd)
    run(MTK, "convert", MODEL, "e.gguf", "-q")
    check(not temporaries("e.gguf"), "two at once: left a temporary")
    clean("e.gguf")


write_large("large.safetensors", 96)
quantize = [MTK, "quantize", "large.safetensors"]
resumes("quantize, bare file", [*quantize, "a.safetensors", "--to", "nvfp4", "-q"], "a.safetensors",
        (2, 7, 13))
resumes("quantize, shards", [*quantize, "a", "--to", "fp8", "--max-shard-size",
                             "5MB", "-q"], "a", (3, 9, 20))
resumes("quantize, split GGUF", [*quantize, "a.gguf", "--to", "q8_0", "--split-max-tensors", "7",
                                 "-q"], "a.gguf", (2, 6, 12))
resumes("quantize, Ctrl-C", [*quantize, "a.gguf", "--to", "q6_k", "-q"], "a.gguf", (2, 6),
        signal.SIGINT)
resumes("convert", [MTK, "convert", "large.safetensors", "a.gguf", "--dtype", "bf16", "-q"],
        "a.gguf", (3, 8))
resumes("quantize, calibrated", [MTK, "quantize", MODEL, "a.gguf", "--to", "q4_0", "--method",
                                 "gptq", "--calibration", TEXT, "--calibration-tokens", "512",
                                 "--sequence-length", "128", "-q"], "a.gguf", (3, 9, 20))
other_runs()
full_disk()
files_beside()
two_at_once()
