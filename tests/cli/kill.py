"""kill.py MTK MODEL DATA: see kill.sh."""
import os
import signal
import subprocess
import sys

from _process import (ATTEMPTS, catch, catch_again, check, digest, remove, run, temporaries,
                      write_large)

MTK, MODEL, DATA = sys.argv[1:]


def killed(caught, what):
    check(caught[0] == -signal.SIGKILL, f"{what}: ended with {caught[0]}: {caught[1]}")


def writer(name, command, out):
    """A command that writes one file or folder."""
    run(*command)
    whole = digest(out)
    killed(catch_again(lambda: remove(out), command, lambda: temporaries(out), signal.SIGKILL),
           name)
    check(not os.path.exists(out), f"{name}: a half output bears the final name")
    check(temporaries(out), f"{name}: nothing was begun")
    run(*command)
    check(digest(out) == whole, f"{name}: the second run gives other bytes")
    check(not temporaries(out), f"{name}: the killed run's temporary is still there")

    # With --force an old output stays whole until the new one is. (The file records the command.)
    run(*command, "--force")
    whole = digest(out)
    run(*command[:1], "convert", MODEL, out, "--force", "-q")
    old = digest(out)
    killed(catch_again(lambda: None, command + ["--force"], lambda: temporaries(out),
                       signal.SIGKILL), name)
    check(digest(out) == old, f"{name} --force: the old output is damaged")
    run(*command, "--force")
    check(digest(out) == whole, f"{name} --force: the run after a kill gives other bytes")
    check(not temporaries(out), f"{name} --force: left {temporaries(out)}")
    remove(out)
    print(f"{name}: killed, run again, same bytes")


def training(name, options, begun):
    """Killed when begun() sees it, resumed; as often as it takes to have been in the middle."""
    command = [MTK, "finetune", MODEL, "--data", DATA, "--out", "a", "-q", "--steps", "8",
               "--batch-tokens", "300", "--save-every", "1", *options]
    run(*command)
    whole = digest("a")
    kills = 0
    for _ in range(ATTEMPTS):
        remove("a", "a.ckpt")
        caught = catch(command, begun, signal.SIGKILL)
        while caught and kills < 3:  # again and again in the same run
            killed(caught, name)
            kills += 1
            check(not os.path.exists("a"), f"{name}: a half result bears the final name")
            now = sorted(os.listdir("a.ckpt"))
            caught = catch(command + ["--resume"],
                           lambda: os.path.isdir("a.ckpt") and sorted(os.listdir("a.ckpt")) != now,
                           signal.SIGKILL)
        if kills:
            break
    check(kills, f"{name}: never killed in the middle")
    if not os.path.exists("a"):
        run(*command, "--resume")
    check(digest("a") == whole, f"{name}: the resumed run gives other bytes")
    check(not os.path.exists("a.ckpt"), f"{name}: a finished training left its checkpoints")
    remove("a")
    print(f"{name}: killed {kills} times, resumed, same bytes")


def other_options():
    """A resumption under other options is refused, and nothing is lost."""
    command = [MTK, "finetune", MODEL, "--data", DATA, "--out", "a", "-q", "--steps", "1000",
               "--batch-tokens", "300", "--save-every", "1", "--rank", "2"]
    killed(catch(command, checkpoint_entry("step-"), signal.SIGKILL), "finetune")
    before = sorted(n for n in os.listdir("a.ckpt") if n.startswith("step-"))
    done = subprocess.run(command + ["--resume", "--lr", "1e-5"], capture_output=True, text=True)
    check(done.returncode == 2 and "--lr" in done.stderr, f"resume under other options: {done}")
    check(before == sorted(n for n in os.listdir("a.ckpt") if n.startswith("step-")),
          "resume under other options: a checkpoint is gone")
    remove("a.ckpt")
    print("finetune: resumption under other options refused")


def checkpoint_entry(prefix):
    return lambda: os.path.isdir("a.ckpt") and any(n.startswith(prefix)
                                                   for n in os.listdir("a.ckpt"))


write_large("large.safetensors", 64)
writer("convert", [MTK, "convert", "large.safetensors", "c.safetensors", "--dtype", "bf16", "-q"],
       "c.safetensors")
writer("quantize", [MTK, "quantize", "large.safetensors", "q", "--to", "fp8", "--layout", "hf",
                    "-q"], "q")
remove("large.safetensors")
training("finetune, after a checkpoint", ["--rank", "2"], checkpoint_entry("step-"))
training("finetune, writing a checkpoint", ["--adapter", "none"], checkpoint_entry(".step-"))
other_options()
