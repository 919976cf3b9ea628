"""Rows of measurements in a CSV file that grows while a long comparison runs, so that it can be resumed."""
import csv


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
