"""What long comparisons share: running a command, and rows of measurements in a CSV file that grows, so that it can be
resumed."""
import csv
import subprocess


def run(*command):
    """What a command prints; the program ends if it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def load(path):
    """The rows so far; none if there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def append(path, columns, rows):
    new = not path.exists()
    with open(path, "a", newline="") as f:
        out = csv.DictWriter(f, columns)
        if new:
            out.writeheader()
        out.writerows(rows)
