"""interrupt.py MTK MODEL DATA: see interrupt.sh."""
import os
import signal
import subprocess
import sys

from _process import catch, catch_again, check, digest, remove, run, temporaries, write_large

MTK, MODEL, DATA = sys.argv[1:]
ENDLESS = ["--ignore-eos", "--context", "1000000", "-q"]


def stopped(caught, code, what):
    check(caught[0] == code, f"{what}: exit code {caught[0]}, not {code}: {caught[1]}")
    check(caught[1].count("\n") == 1, f"{what}: not one line on stderr: {caught[1]!r}")


def writers():
    write_large("large.safetensors", 64)
    for name, command in {
            "convert": [MTK, "convert", "large.safetensors", "c.safetensors", "--dtype", "bf16"],
            "quantize": [MTK, "quantize", "large.safetensors", "c.safetensors", "--to", "nvfp4"],
    }.items():
        for sig, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            caught = catch_again(lambda: remove("c.safetensors", *temporaries("c.safetensors")),
                                 command + ["-q"], lambda: temporaries("c.safetensors"), sig)
            stopped(caught, code, f"{name} {sig.name}")
            check(not os.path.exists("c.safetensors"), f"{name}: left its output")
            check(bool(temporaries("c.safetensors")) == ("--resume" in caught[1]),
                  f"{name}: what is left is not what it says: {caught[1]}")
        print(f"{name}: SIGINT 130, SIGTERM 143, nothing left but what --resume goes on with")
    remove("large.safetensors")


def generation():
    for sig, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        child = subprocess.Popen([MTK, "run", MODEL, "-p", "x", *ENDLESS], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        check(child.stdout.read(1), "run printed nothing")
        child.send_signal(sig)
        _, err = child.communicate(timeout=300)
        stopped((child.returncode, err.decode()), code, f"run {sig.name}")
    print("run: SIGINT 130, SIGTERM 143")


def training():
    steps = ["--steps", "6", "--batch-tokens", "300", "--rank", "2", "-q"]
    command = [MTK, "finetune", MODEL, "--data", DATA, "--out", "a", "--json", "--log-every", "1"]
    run(*command, *steps)
    whole = digest("a")
    for attempt in range(20):
        remove("a", "a.ckpt")
        child = subprocess.Popen(command + steps + ["--save-every", "0"], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        for line in child.stdout:
            if '"step"' in line:
                break
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=300)
        if child.returncode != 0:
            break
    stopped((child.returncode, err), 130, "finetune SIGINT")
    check("--resume" in err, f"finetune does not say how to go on: {err}")
    check(not os.path.exists("a"), "an interrupted training left its result")
    check(os.listdir("a.ckpt"), "an interrupted training left no checkpoint")
    done = subprocess.run(command + steps, stderr=subprocess.PIPE, text=True)
    check(done.returncode == 1 and "--resume" in done.stderr,
          f"old checkpoints are not protected: {done.returncode} {done.stderr}")
    run(*command, *steps, "--resume")
    check(digest("a") == whole, "the resumed training gives other bytes")
    check(not os.path.exists("a.ckpt"), "a finished training left its checkpoints")
    remove("a")
    print("finetune: SIGINT 130 with a checkpoint, resumed to the same bytes")


def closed_pipes():
    """A reader that has enough: the command ends by itself, soon, with one line on stderr."""
    for what, command in {
            "run": [MTK, "run", MODEL, "-p", "x", *ENDLESS],
            "inspect": [MTK, "inspect", MODEL, "--tensors"],
            "help": [MTK, "convert", "--help"],
    }.items():
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.read(1 if what == "run" else 0)
        child.stdout.close()
        code = child.wait(timeout=300)
        err = child.stderr.read().decode()
        check(code in (0, 1) and err.count("\n") <= 1, f"{what} into a closed pipe: {code}: {err}")
        check(what != "run" or "cannot write" in err, f"run into a closed pipe: {err}")
    print("closed pipes: all ended by themselves")


writers()
generation()
training()
closed_pipes()
