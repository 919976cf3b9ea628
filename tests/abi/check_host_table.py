#!/usr/bin/env python3
"""The plugin ABI's lists agree: rows of host.h, names of plugin_names.h, public declarations.

  check_host_table.py [--source DIR] [--self-test]

Checks that host.h and plugin_names.h name the same functions in the same order, that every public
function of the layers a plugin may use has a row, and that rows frozen in tests/abi/rows-*.txt are
a prefix of today's (rows are only ever appended). Exit 1 and a line per difference otherwise.
"""
import argparse
import pathlib
import re
import sys

# Headers whose every function is in the table; of kernel.h only the scalar math.
LAYERS = ["base", "archive", "dtype", "option", "text", "model", "graph", "chat", "engine", "train"]


def strip(text):
    """Declarations only: no comments, preprocessor lines, or bodies in braces."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*$", "", text, flags=re.M)
    text = text.replace('extern "C" {', "")
    text = re.sub(r"static inline[^{]*\{[^}]*\}", "", text)
    while True:
        shorter = re.sub(r"\{[^{}]*\}", "", text)
        if shorter == text:
            return text
        text = shorter


def declared(text):
    names = []
    for statement in strip(text).split(";"):
        if "typedef" in statement:
            continue
        match = re.search(r"\bmtk_([a-z0-9_]+)\s*\(", statement)
        if match:
            names.append(match[1])
    return names


def rows(host_h):
    body = host_h[host_h.index("#define MTK_HOST_FUNCTIONS(X)"):]
    body = body[:body.index("\n\n")].replace("\\\n", " ")
    return re.findall(r"X\([^,]+?,\s*([a-z0-9_]+),", re.sub(r"/\*.*?\*/", "", body))


def names(names_h):
    pairs = re.findall(r"^#define mtk_(\w+)\s+\(mtk_host_table->(\w+)\)$", names_h, flags=re.M)
    return [a if a == b else f"{a}!={b}" for a, b in pairs]


def compare(host_h, names_h, headers, kernel_h, frozen):
    problems = []
    table, mapped = rows(host_h), names(names_h)
    for name in sorted({n for n in table if table.count(n) > 1}):
        problems.append(f"host.h: mtk_{name} has two rows")
    for i, (a, b) in enumerate(zip(table, mapped)):
        if a != b:
            problems.append(f"row {i}: host.h has {a}, plugin_names.h has {b}")
            break
    if len(table) != len(mapped):
        problems.append(f"host.h has {len(table)} rows, plugin_names.h {len(mapped)}")
    wanted = [(h, n) for h, text in headers.items() for n in declared(text)]
    wanted += [("kernel", n) for n in declared(kernel_h) if n.startswith("math_")]
    for header, name in wanted:
        if name not in table:
            problems.append(f"{header}.h: mtk_{name} has no row in host.h")
    for file, lines in frozen.items():
        if table[:len(lines)] != lines:
            problems.append(f"{file}: the table no longer starts with these rows")
    return problems


def self_test():
    host = ("#define MTK_HOST_FUNCTIONS(X) \\\n"
            "  X(int, a, (int x), ) \\\n  X(void *, b, (void), )\n\n")
    plug = "#define mtk_a (mtk_host_table->a)\n#define mtk_b (mtk_host_table->b)\n"
    head = {"base": "int mtk_a(int x);\nvoid *mtk_b(void);\ntypedef int (*mtk_fn)(int);\n"}
    cases = [
        (0, host, plug, head, {}),
        (1, host, plug.replace("table->b", "table->a"), head, {}),
        (2, host, plug.split("\n", 1)[1], head, {}),
        (1, host, plug, {"base": head["base"] + "int mtk_c(void);\n"}, {}),
        (0, host, plug, head, {"rows-1.0.txt": ["a"]}),
        (1, host, plug, head, {"rows-1.0.txt": ["b"]}),
    ]
    for i, (want, h, p, hs, frozen) in enumerate(cases):
        got = compare(h, p, hs, "", frozen)
        if len(got) != want:
            sys.exit(f"self-test case {i}: expected {want} problems, got {got}")


def main():
    parser = argparse.ArgumentParser()
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--source", type=pathlib.Path, default=root)
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    include = args.source / "core/include/mtk"
    read = lambda name: (include / f"{name}.h").read_text()
    frozen = {f.name: f.read_text().split() for f in (args.source / "tests/abi").glob("rows-*.txt")}
    problems = compare(read("host"), read("plugin_names"), {h: read(h) for h in LAYERS},
                       read("kernel"), frozen)
    for line in problems:
        print(line)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
