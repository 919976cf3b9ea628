#!/usr/bin/env python3
"""Checks of the source tree that a compiler does not make. Standard library only.

  tidy.py --source DIR [--build DIR] [--cc CC]    every rule; exit 1 when one is broken
  tidy.py --self-test                             feeds each rule a bad and a good example

Rules: the layer table (who may include whom), line, function and file length, banned calls, a
comment at the head of each C file, public headers compile alone as C17 and C++17, and, with
--build, the symbols that libmtk and the plugins export.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

MAX_LINE, MAX_SCRIPT_LINE, MAX_FUNCTION, MAX_FILE = 100, 120, 80, 800
FOLDERS = ("core", "kernels", "formats", "plugins", "cmd", "tests", "examples")
OTHER_TEXT = ("CMakeLists.txt", "build.sh", ".ci/run")

# ---- the layer table ---------------------------------------------------------------------------
# Layers of core, and those each may include: <mtk/...> headers of these layers and internal headers
# of these folders.
CORE_LAYERS = {
    "base": {"base"},
    "tensor": {"base", "tensor"},
    "text": {"base", "text"},
    "graph": {"base", "tensor", "graph"},
    "model": {"base", "tensor", "graph", "text", "model"},
    "chat": {"base", "text", "model", "chat"},
    "run": {"base", "tensor", "graph", "text", "model", "chat", "run"},
    "train": {"base", "tensor", "graph", "text", "model", "chat", "train"},
    "plug": {"base", "plug"},
}
# The layer a public header belongs to; headers under mtk/ext/ not named here are the plugins' own.
PUBLIC_LAYER = {
    "base.h": "base", "archive.h": "base", "option.h": "base", "dtype.h": "tensor", "kernel.h": "tensor",
    "text.h": "text", "graph.h": "graph", "model.h": "model", "quantize.h": "model", "calibrate.h": "run",
    "equalize.h": "run", "limits.h": "graph",
    "ext/arch.h": "model", "ext/format.h": "model", "ext/quantizer.h": "model",
    "chat.h": "chat", "engine.h": "run", "train.h": "train", "plugin.h": "plug", "host.h": "plug",
    "plugin_names.h": "plug", "registry.h": "plug",
}
# Public headers beyond the table (None: all): rollouts drive a session, and the plugin host hands
# out everything.
PUBLIC_EXTRA = {"train": {"engine.h"}, "plug": None}

HOST_ONLY = {"registry.h"}  # refuses to be included by a plugin

STANDARD_C = {f"{h}.h" for h in (
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal "
    "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath "
    "threads time uchar wchar wctype").split()}
KERNEL_SYSTEM = {f"{h}.h" for h in (
    "math string stdint stddef stdbool stdatomic float limits immintrin cpuid "
    "unistd sys/syscall").split()}
KERNEL_PUBLIC = {"kernel.h", "dtype.h"}

# ---- banned calls ------------------------------------------------------------------------------
BANNED_EVERYWHERE = ("strcpy strcat sprintf vsprintf strtok atoi atol atof gets sscanf stpcpy "
                     "alloca tmpnam mktemp rand srand setlocale").split()
# (free stays allowed: libraries hand out memory, json_dumps for one.)
BANNED_IN_LIBRARY = ("malloc calloc realloc aligned_alloc posix_memalign strdup strndup "
                     "asprintf exit _exit abort assert quick_exit printf puts putchar perror "
                     "vprintf system popen").split()
BANNED_IN_KERNELS = "mtk_alloc mtk_realloc mtk_free mtk_log fopen snprintf pthread_create".split()
LIBRARY = ("core/", "kernels/", "formats/", "plugins/")
ALLOCATOR = "core/base/alloc.c"


def strip_comments(text):
    """Comments and the insides of strings become spaces; line breaks stay."""
    def blank(match):
        s = match.group(0)
        keep = s[0] if s[0] in "\"'" else ""
        inner = re.sub(r"[^\n]", " ", s)
        return keep + inner[1:-1] + keep if keep else inner
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.S)


def code_of(text):
    return strip_comments(text)


def includes_of(text):
    """(line number, '<' or '\"', name) of each include outside comments."""
    without = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    for number, line in enumerate(without.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1), match.group(2)


# ---- rules on one file: rule(path, text) -> [(line, message)] --------------------------------
def check_lines(path, text):
    lines = text.split("\n")
    most = MAX_LINE if path.endswith((".c", ".h")) else MAX_SCRIPT_LINE
    bad = [(n, f"line of {len(l)} columns, at most {most}") for n, l in enumerate(lines, 1)
           if len(l) > most]
    bad += [(n, "tab or trailing space") for n, l in enumerate(lines, 1)
            if "\t" in l or l.rstrip() != l]
    return bad


def check_file_length(path, text):
    n = text.count("\n")
    return [(n, f"file of {n} lines, at most {MAX_FILE}")] if n > MAX_FILE else []


def check_head_comment(path, text):
    return [] if text.startswith("/*") else [(1, "does not open with a comment")]


def check_functions(path, text):
    """Length of each function: a '{' at depth 0 that follows a ')'."""
    bad, depth, start, statement, before = [], 0, 0, 1, ""
    for number, line in enumerate(code_of(text).split("\n"), 1):
        if line.lstrip().startswith("#") or before.endswith("\\"):
            before = line.rstrip()
            continue
        before = line.rstrip()
        for char in line:
            if char == "{":
                if depth == 0:
                    start = statement
                depth += 1
            elif char == "}":
                depth -= 1
                if depth == 0:
                    if number - start + 1 > MAX_FUNCTION:
                        bad.append((start, f"{number - start + 1} lines in one function or table, "
                                           f"at most {MAX_FUNCTION}"))
                    statement = number + 1
            elif char == ";" and depth == 0:
                statement = number + 1
        if depth == 0 and not line.strip():
            statement = number + 1
    return [b for b in bad if is_function(text, b[0])]


def is_function(text, line):
    """Whether the definition that starts at this line has a parameter list before its brace."""
    rest = "\n".join(code_of(text).split("\n")[line - 1:])
    head = rest[:rest.index("{")]
    return "(" in head and "=" not in head


def check_banned(path, text):
    banned = set(BANNED_EVERYWHERE)
    library = path.startswith(LIBRARY)
    if library and path != ALLOCATOR:
        banned |= set(BANNED_IN_LIBRARY)
    if path.startswith("kernels/"):
        banned |= set(BANNED_IN_KERNELS)
    if path.endswith("_fuzz.c"):
        banned = set(BANNED_EVERYWHERE)
        library = False
    bad = []
    for number, line in enumerate(code_of(text).split("\n"), 1):
        for match in re.finditer(r"(?<![\w.])(?<!->)(\w+)\s*\(", line):
            if match.group(1) in banned:
                bad.append((number, f"call of {match.group(1)} is not allowed here"))
        if library and re.search(r"\b(stderr|stdout)\b", line):
            bad.append((number, "library code does not write to stdout or stderr"))
    return bad


def public_allowed(layer, name):
    extra = PUBLIC_EXTRA.get(layer, set())
    return extra is None or name in extra or PUBLIC_LAYER.get(name) in CORE_LAYERS[layer]


def check_core_include(path, quote, name):
    layer = path.split("/")[1]
    if layer not in CORE_LAYERS:
        return f"core/{layer} is not in the layer table"
    if name.startswith("mtk/"):
        if not public_allowed(layer, name[4:]):
            return f"core/{layer} may not include <{name}>"
    elif quote == '"':
        if name.split("/")[0] not in CORE_LAYERS[layer]:
            return f'core/{layer} may not include "{name}"'
    return None


def check_kernel_include(path, quote, name):
    if name.startswith("mtk/"):
        return None if name[4:] in KERNEL_PUBLIC else f"kernels may not include <{name}>"
    if quote == '"':
        target = os.path.normpath(os.path.join(os.path.dirname(path), name))
        inside = target.startswith("kernels/") or not name.startswith("..")
        return None if inside else f'kernels may not include "{name}"'
    return None if name in KERNEL_SYSTEM else f"kernels may not include <{name}>"


def check_public_include(path, quote, name):
    ok = quote == "<" and (name.startswith("mtk/") or name in STANDARD_C)
    return None if ok else f"a public header may not include {name}"


def check_outer_include(path, quote, name):
    """formats, plugins, examples and cmd: <mtk/...>, libraries, and files of the own folder."""
    if quote == "<":
        return None
    own = path.split("/")[0] if path.startswith("cmd/") else "/".join(path.split("/")[:2])
    target = os.path.normpath(os.path.join(os.path.dirname(path), name))
    return None if target.startswith(own + "/") else f'"{name}" lies outside {own}'


def check_includes(path, text):
    if path.startswith("core/include/"):
        rule = check_public_include
    elif path.startswith("core/"):
        rule = check_core_include
    elif path.startswith("kernels/"):
        rule = check_kernel_include
    elif path.startswith(("formats/", "plugins/", "examples/", "cmd/")):
        rule = check_outer_include
        if path.endswith("_fuzz.c"):
            return []
    else:
        return []
    found = ((number, rule(path, quote, name)) for number, quote, name in includes_of(text))
    return [(number, message) for number, message in found if message]


C_RULES = (check_lines, check_file_length, check_head_comment, check_functions, check_banned,
           check_includes)


def check_pipes(path, text):
    """grep -q leaves at the first match; under pipefail its writer's SIGPIPE then fails, now and then."""
    if "pipefail" not in text and not path.startswith("tests/cli/"):
        return []
    return [(n, "a pipe into grep -q: use grep -q PATTERN <(command)")
            for n, l in enumerate(text.split("\n"), 1) if re.search(r"[^|]\| *grep -\w*q", l)]


def check_text(path, text):
    rules = C_RULES if path.endswith((".c", ".h")) else (check_lines,)
    if path.endswith(".sh"):
        rules += (check_pipes,)
    if path.startswith("tests/oracle/"):  # scripts full of literal test data
        rules = ()
    return [(line, message) for rule in rules for line, message in rule(path, text)]


# ---- rules on the tree ---------------------------------------------------------------------------
def tree_files(source):
    for folder in FOLDERS:
        for root, dirs, names in os.walk(os.path.join(source, folder)):
            dirs[:] = sorted(d for d in dirs if d not in ("build", "__pycache__", "corpus"))
            for name in sorted(names):
                if name.endswith((".c", ".h", ".py", ".sh")):
                    yield os.path.relpath(os.path.join(root, name), source)
    yield from (p for p in OTHER_TEXT if os.path.exists(os.path.join(source, p)))


def check_headers(source, cc):
    """Each public header alone, as C17 and C++17, as host and as plugin."""
    include = os.path.join(source, "core/include")
    cxx = shutil.which("g++") or shutil.which("clang++")
    compilers = [[cc, "-x", "c", "-std=c17"]]
    if cxx:
        compilers.append([cxx, "-x", "c++", "-std=c++17"])
    else:
        print("SKIP: no C++ compiler, headers are only compiled as C")
    bad = []
    for root, _, names in os.walk(include):
        for name in sorted(n for n in names if n.endswith(".h")):
            header = os.path.relpath(os.path.join(root, name), include)
            for compiler in compilers:
                for define in ([], ["-DMTK_PLUGIN_BUILD"]):
                    if define and header[len("mtk/"):] in HOST_ONLY:
                        continue
                    command = compiler + define + ["-Wall", "-Wextra", "-Wpedantic", "-Werror",
                                                   "-fsyntax-only", "-I", include, "-"]
                    run = subprocess.run(command, input=f"#include <{header}>\n", text=True,
                                         capture_output=True, check=False)
                    if run.returncode:
                        first = run.stderr.strip().split("\n")[0]
                        how = " ".join(compiler[:1] + define)
                        bad.append(f"{header} alone with {how}: {first}")
    return bad


def symbols(path, dynamic):
    """Names of the global symbols that a file defines."""
    command = ["nm", "-g", "--defined-only"] + (["-D"] if dynamic else []) + [path]
    out = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    return {line.split()[2] for line in out.split("\n") if len(line.split()) == 3}


def check_library_symbols(names):
    return [f"libmtk exports {n}, which does not start with mtk_" for n in sorted(names)
            if not n.startswith("mtk_")]


def check_plugin_symbols(plugin, names):
    if names == {"mtk_plugin_entry"}:
        return []
    return [f"plugin {plugin} exports {sorted(names)}, not exactly mtk_plugin_entry"]


def check_build(build):
    bad = []
    library = os.path.join(build, "libmtk.a")
    if os.path.exists(library):
        bad += check_library_symbols(symbols(library, False))
    else:
        bad.append(f"{library} is missing: build first")
    folder = os.path.join(build, "lib/mtk/plugins")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith(".so"):
            bad += check_plugin_symbols(name, symbols(os.path.join(folder, name), True))
    return bad


def check_tree(source, build, cc):
    bad, count = [], 0
    for path in tree_files(source):
        count += 1
        with open(os.path.join(source, path), encoding="utf-8") as f:
            bad += [f"{path}:{line}: {message}" for line, message in check_text(path, f.read())]
    bad += check_headers(source, cc)
    if build:
        bad += check_build(build)
    for message in bad:
        print(message)
    print(f"tidy: {count} files, {len(bad)} findings")
    return 1 if bad or count == 0 else 0


# ---- self-test ---------------------------------------------------------------------------------
def function_of(lines):
    return "/* x */\nstatic int f(int a) {\n" + "  a++;\n" * (lines - 3) + "  return a;\n}\n"


# (path, text, part of the expected finding or None for a good example)
EXAMPLES = (
    ("core/base/a.c", "/* x */\n" + "x" * 100 + "\n", None),
    ("core/base/a.c", "/* x */\n" + "x" * 101 + "\n", "101 columns"),
    ("core/base/a.c", "/* x */\nint a; \n", "trailing space"),
    ("core/base/a.c", "/* x */\n\tint a;\n", "tab"),
    ("build.sh", "y" * 120, None),
    ("build.sh", "y" * 121, "121 columns"),
    ("tests/oracle/make_golden.py", "y" * 101, None),
    ("tests/cli/a.sh", "x | grep -q y\n", "a pipe into grep -q"),
    ("build.sh", "set -o pipefail\nx | grep -Eq y\n", "a pipe into grep -q"),
    ("examples/a.sh", "x | grep -q y\n", None),
    ("tests/cli/a.sh", "x || grep -q y z\n", None),
    ("core/base/a.c", "int a;\n", "does not open"),
    ("core/base/a.c", "/* x */\n" + "int a;\n" * 799, None),
    ("core/base/a.c", "/* x */\n" + "int a;\n" * 800, "file of 801"),
    ("core/base/a.c", function_of(80), None),
    ("core/base/a.c", function_of(81), "81 lines"),
    ("core/base/a.c", "/* x */\nstatic const int t[] = {\n" + "  1,\n" * 100 + "};\n", None),
    ("tests/unit/test_a.c", function_of(90), "90 lines"),
    ("core/base/a.c", "/* x */\nvoid f(void) { strcpy(a, b); }\n", "strcpy"),
    ("cmd/a.c", "/* x */\nvoid f(void) { sscanf(a, b); }\n", "sscanf"),
    ("core/base/a.c", "/* x */\nvoid f(void) { p = malloc(3); }\n", "malloc"),
    ("core/base/alloc.c", "/* x */\nvoid f(void) { p = malloc(3); }\n", None),
    ("core/base/a.c", "/* malloc(3) */\nchar *s = \"exit(1)\"; // abort()\n", None),
    ("core/base/a.c", "/* x */\nvoid f(void) { t->free(p); x.exit(1); my_free(2); }\n", None),
    ("plugins/x/a.c", "/* x */\nvoid f(void) { fprintf(stderr, s); }\n", "stderr"),
    ("formats/x/a.c", "/* x */\nvoid f(void) { abort(); }\n", "abort"),
    ("formats/x/x_fuzz.c", "/* x */\nvoid f(void) { abort(); }\n", None),
    ("cmd/a.c", "/* x */\nvoid f(void) { printf(s); exit(1); }\n", None),
    ("kernels/ref/a.c", "/* x */\nvoid f(void) { mtk_alloc(1, 1); }\n", "mtk_alloc"),
    ("core/base/a.c", "/* x */\n#include <mtk/base.h>\n#include \"base/b.h\"\n", None),
    ("core/base/a.c", "/* x */\n#include <mtk/dtype.h>\n", "may not include"),
    ("core/base/a.c", "/* x */\n# include \"tensor/b.h\"\n", "may not include"),
    ("core/text/a.c", "/* x */\n#include <mtk/model.h>\n", "may not include"),
    ("core/graph/a.c", "/* x */\n#include \"text/a.h\"\n", "may not include"),
    ("core/run/a.c", "/* x */\n#include <mtk/train.h>\n", "may not include"),
    ("core/run/a.c", "/* x */\n#include \"train/a.h\"\n", "may not include"),
    ("core/train/a.c", "/* x */\n#include <mtk/engine.h>\n#include \"model/a.h\"\n", None),
    ("core/train/a.c", "/* x */\n#include \"run/a.h\"\n", "may not include"),
    ("core/plug/a.c", "/* x */\n#include <mtk/engine.h>\n", None),
    ("core/plug/a.c", "/* x */\n#include \"model/a.h\"\n", "may not include"),
    ("core/new/a.c", "/* x */\n#include <mtk/base.h>\n", "not in the layer table"),
    ("core/run/a.c", "/* #include \"train/a.h\" */\n", None),
    ("kernels/ref/a.c", "/* x */\n#include <mtk/kernel.h>\n#include \"../k.h\"\n", None),
    ("kernels/ref/a.c", "/* x */\n#include <stdlib.h>\n", "may not include"),
    ("kernels/ref/a.c", "/* x */\n#include <mtk/base.h>\n", "may not include"),
    ("kernels/ref/a.c", "/* x */\n#include \"../../core/base/internal.h\"\n", "may not include"),
    ("core/include/mtk/a.h", "/* x */\n#include <jansson.h>\n", "public header"),
    ("core/include/mtk/a.h", "/* x */\n#include <stdint.h>\n", None),
    ("formats/x/a.c", "/* x */\n#include \"x.h\"\n#include <zlib.h>\n", None),
    ("formats/x/a.c", "/* x */\n#include \"../y/y.h\"\n", "outside"),
    ("plugins/x/a.c", "/* x */\n#include \"../../core/base/internal.h\"\n", "outside"),
    ("cmd/a.c", "/* x */\n#include \"../core/base/internal.h\"\n", "outside"),
)


def self_test():
    bad = 0
    for path, text, expected in EXAMPLES:
        found = "; ".join(message for _, message in check_text(path, text))
        if (expected is None) != (found == "") or (expected and expected not in found):
            print(f"self-test: {path} {text[:60]!r}: expected {expected!r}, found {found!r}")
            bad += 1
    symbol_tests = ((check_library_symbols({"mtk_a", "helper"}), True),
                    (check_library_symbols({"mtk_a"}), False),
                    (check_plugin_symbols("p", {"mtk_plugin_entry", "x"}), True),
                    (check_plugin_symbols("p", set()), True),
                    (check_plugin_symbols("p", {"mtk_plugin_entry"}), False))
    bad += sum(bool(found) != expected for found, expected in symbol_tests)
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "core/include/mtk"))
        header = os.path.join(folder, "core/include/mtk/a.h")
        for text, expected in (("/* x */\nint f(size_t n);\n", True),
                               ("/* x */\nint f(int n);\n", False),
                               ("/* x */\nint f(int class);\n", True)):  # C only
            with open(header, "w", encoding="utf-8") as f:
                f.write(text)
            bad += bool(check_headers(folder, "cc")) != expected
        bad += check_tree(os.path.join(folder, "core/include"), None, "cc") != 1  # nothing to check
    print(f"self-test: {len(EXAMPLES) + len(symbol_tests) + 4} examples, {bad} wrong")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--source", default=".")
    parser.add_argument("--build")
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    return self_test() if args.self_test else check_tree(args.source, args.build, args.cc)


sys.exit(main())
