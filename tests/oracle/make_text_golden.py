#!/usr/bin/env python3
"""Writes tests/golden/text/: what `tokenizers` and `jinja2` make of many small inputs.

  python3 -m venv V && V/bin/pip install tokenizers==0.23.3 jinja2==3.1.6
  V/bin/python tests/oracle/make_text_golden.py [TEST_DATA]

  <name>.tokenizer.json   tiny byte-level BPE tokenizers trained here, one per pre-tokenizer
  tokens.jsonl            {"text", "plain": {name: ids}, "special": {name: ids}}; `plain` has
                          encode_special_tokens set: control tokens are ordinary text
  jinja.jsonl             {"template", "context", "result"} or {..., "error"}
  templates.txt           for the templates of TEST_DATA/templates: path, context, flag, sha256 of
                          the rendered text or "error" (kept as it is without TEST_DATA)
"""
import datetime
import glob
import hashlib
import json
import os
import random
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "tests", "golden", "text")
NOW = datetime.datetime(2025, 7, 10, 12, 0)

# ---- tokenizers ----------------------------------------------------------------------------------

CORPUS = """The quick brown fox jumps over the lazy dog. She sells sea shells by the sea shore.
Le garçon mange une pomme près de la fenêtre ; il fait très beau aujourd'hui, n'est-ce pas ?
Die Größe des Gebäudes überrascht die Gäste, während der Schnee fällt und das Mädchen läuft.
El niño comió mañana; la canción suena bien. Perché il caffè è già finito? Così è la vita.
for (int i = 0; i < n; i++) { sum += a[i] * b[i]; }  // a comment
def function(self, value=None):\n    return self.items[value] if value else None\n
Привет, мир! Как дела? مرحبا بالعالم שלום 你好，世界。日本語のテキスト 한국어 텍스트
1234567890 3.14159 2024-01-01 100,000.00 0x1F {"key": [1, 2, 3], "name": "value"}
It's don't we've they'll I'd you're HELLO WORLD Hello World hello world
""" * 3

C = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
QWEN2 = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL)


def split(pattern):
    return pre.Sequence([pre.Split(Regex(pattern), "isolated"),
                         pre.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(prefix=False):
    return pre.ByteLevel(add_prefix_space=prefix, use_regex=True)


# name: pre-tokenizer, normalizer, ignore_merges, start of text
KINDS = {
    "gpt2": (byte_level(), None, False, None),
    "smollm": (pre.Sequence([pre.Digits(individual_digits=True), byte_level()]), None, False, None),
    "llama3": (split(LLAMA3), None, True, "<|begin_of_text|>"),
    "qwen2": (split(QWEN2), normalizers.NFC(), False, None),
    "tekken": (split(TEKKEN), None, True, "<s>"),
    "added": (byte_level(True), normalizers.NFC(), False, None),
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|begin_of_text|>",
           "[INST]", "[/INST]"]


def make_tokenizer(name):
    pre_tokenizer, normalizer, ignore_merges, bos = KINDS[name]
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizer
    if normalizer:
        tok.normalizer = normalizer
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(CORPUS.split("\n"), trainers.BpeTrainer(
        vocab_size=460, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False))
    tok.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL])
    tok.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    if name == "added":
        tok.add_tokens([
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True, normalized=False),
            AddedToken("wörd", single_word=True, normalized=True),
            AddedToken("e\u0301<x>", normalized=True),
            AddedToken("<a>", normalized=False), AddedToken("<a><b>", normalized=False),
        ])
        tok.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    if bos:
        tok.post_processor = processors.TemplateProcessing(
            single=bos + " $A", pair=bos + " $A $B", special_tokens=[(bos, tok.token_to_id(bos))])
    text = json.loads(tok.to_str())
    text["model"]["ignore_merges"] = ignore_merges
    return Tokenizer.from_str(json.dumps(text)), json.dumps(text, ensure_ascii=False)


FIXED = [
    "", " ", "  ", "\n", "\r\n", "\t\t x", "Hello World", " leading", "trailing ", "a  b   c    d",
    "don't you've I'LL we'Re 'S 's'ſ it'K", "1234567890 12 3.14 １２３ ⅷ²½ ١٢٣", "x=1;y=22;zz=333",
    "def f(x):\n    return x**2  # comment\n\n\nclass A:\n\tpass\n", "日本語のテキスト 中文字符，测试。",
    "مرحبا بالعالم", "שלום עולם", "Привет, мир! ЁЖИК", "Ünïcödé façade naïve", "한국어 테스트",
    "e\u0301 o\u0308 \u1e9b\u0323 A\u030a a\u0323\u0307 a\u0307\u0323", "हिन्दी नमस्ते", "ไทยภาษา",
    "🚀🔥👨‍👩‍👧‍👦 🇫🇷 👍🏽", "\u200b\u200d\ufeff\u00a0a\u3000b\u2028c\u0085d\u180ee\u2003f",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8", "<|im_start|>user\nhi<|im_end|>\n", "<s>[INST] hi [/INST]</s>",
    "a<|endoftext|>b", "<|endoftext|><|endoftext|>", "<think>\nhm\n</think>\n\nok", "<|im_", "<|im_start|",
    "$100,000.00 €5 £3", "x" * 100, " " * 50 + "y", "\n" * 20, "!!!???...---===", "\x01\x7f\x80ctrl",
    "ﬁ ﬂ Ⅳ ①", "ＡＢＣ ｆｕｌｌ", "CamelCaseWords HTTPServer XMLHttpRequest iPhone", "snake_case __init__",
    "'''quotes''' \"dq\" `bt`", "a\u0301\u0301\u0323b\u0300", "path/to/file.txt C:\\dir\\file",
    "a <left> b<left>c  <left>", "a <right> b<right>c<right>  d", "wörd swörd wörds (wörd) wo\u0308rd",
    "é<x> e\u0301<x> e\u0301", "<a><b><a>c<a><", "x <mask> y", "ab\u00ad\u200bcd", "\u0301start", "ÀÉÎõü",
]


def random_texts():
    rng = random.Random(20240501)
    pool = [chr(c) for c in range(32, 127)] + list("\n\r\t  \u00a0éèüßñ中文日の한🚀مب²½１\u0301\u0308\u0323’")
    pool += ["'s", "'LL", " the", "ing", "\r\n", "  ", "0", "42", "<|im_end|>", "<s>", "Größe", "n't"]
    ranges = [(0x20, 0x500), (0x500, 0x3000), (0x3000, 0xD7FF), (0x10000, 0x1F9FF)]
    for _ in range(140):
        yield "".join(rng.choice(pool) for _ in range(rng.randrange(1, 32)))
    for _ in range(40):
        chars = (chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 14)))
        # only characters that Unicode 14 knew: the libraries' tables differ in age
        yield "".join(c for c in chars if unicodedata.category(c) != "Cn")


def write_tokens():
    tokenizers = {}
    for name in KINDS:
        tokenizers[name], text = make_tokenizer(name)
        with open(os.path.join(OUT, name + ".tokenizer.json"), "w") as f:
            f.write(text + "\n")
    with open(os.path.join(OUT, "tokens.jsonl"), "w") as f:
        for text in FIXED + list(random_texts()):
            row = {"text": text, "plain": {}, "special": {}}
            for name, tok in tokenizers.items():
                for key in ("plain", "special"):
                    tok.encode_special_tokens = key == "plain"
                    row[key][name] = tok.encode(text, add_special_tokens=False).ids
                if row["plain"][name] == row["special"][name]:
                    del row["special"][name]
            f.write(json.dumps(row, separators=(",", ":")) + "\n")


# ---- templates -----------------------------------------------------------------------------------

def environment():
    """As transformers builds it (utils/chat_template_utils.py)."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, "jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


ENV = environment()


def render(template, context):
    try:
        return {"result": ENV.from_string(template).render(**context)}
    except Exception as e:  # whatever Jinja or Python says, mtk must refuse too
        return {"error": type(e).__name__ + ": " + str(e)}


CONTEXT = {
    "s": "Hello, Wörld!", "empty": "", "spaced": "  a b  c \n", "n": 7, "m": -3, "f": 2.5, "t": True,
    "z": None, "l": [3, 1, 2], "words": ["pear", "Apple", "fig"], "nested": [[1, 2], [3, [4]]],
    "d": {"b": 1, "a": 2, "C": [1], "items": "x"}, "quote": "it's \"q\"\n\t\\ \u00e9\u200b<&>",
    "users": [{"name": "Bo", "age": 30, "tags": ["x"]}, {"name": "al", "age": 25, "tags": []},
              {"name": "Cy", "age": 30, "ok": True}],
    "big": 9007199254740993, "lines": "a\nb\r\n\nc", "path": "a/b/c", "json": "{\"k\": [1, 2.50, null]}",
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}],
}

EXPRESSIONS = r"""
1 + 2 * 3 ** 2 - 4 / 2 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7.5 // 2 | -7.5 % 2 | 2 ** -1 | 2 ** 3 ** 2
1 / 3 | 1e100 | 1.0 | 100.0 * 3 | 1e16 | 123456789012345680.0 | 0.1 + 0.2 | 1e-5 | 0.0001 | 5 / 5 | -0.0
1_000 | 0x1f | 0o17 | 0b101 | 1e3 | 1.5e-3 | n + f | t + 1 | big | big + 1 | true + true
1 < 2 < 3 | 1 < 2 > 3 | 1 == 1.0 | "a" < "b" | [1, 2] < [1, 3] | 1 != 2 | "1" == 1 | z == none | not z
n if n > 5 else "small" | "x" if false | ("x" if false) is defined | 1 if 0 else 2 if 0 else 3
s ~ n ~ f ~ t ~ z ~ l | "a" "b" 'c' | "x" * 3 | [0] * 3 | [1] + [2] | (1, 2) + (3,) | "a" + 'b'
l[0] | l[-1] | l[5] is defined | l[0:2] | l[::-1] | l[1:] | l[:-1] | s[0] | s[-1] | s[7:12] | s[::-1] | s[::2]
d.a | d["b"] | d.missing is defined | d.items is callable | d["items"] | d.get("a") | d.get("q") | d.get("q", 5)
d.keys() | d.values() | d.items() | d.keys() | list | d | list | d | items | list | d | length | d.items() | list
"a" in d | "q" in d | 1 in l | 9 not in l | "ell" in s | "" in s | z in l | undefined_x in l | 3 in nested
(1, 2) | (1,) | () | [] | {} | {"a": 1, 2: [3]} | [1, "a", none, true, 1.5] | [quote] | ["it's"] | ['"'] | {"k": quote}
quote | quote | tojson | d | tojson | l | tojson(indent=2) | d | tojson(indent=4) | nested | tojson | quote | tojson(ensure_ascii=true)
d | tojson(sort_keys=true) | d | tojson(separators=(",", ":")) | [] | tojson(indent=2) | {} | tojson(indent=2) | [1.0, 1e20, none, true] | tojson
{1: 2, none: 3, true: 4} | tojson | "é" | tojson(ensure_ascii=true) | "😀" | tojson(ensure_ascii=true) | undefined_x | tojson
s | upper | s | lower | "hello wORLD" | capitalize | "hello big-world (x)" | title | "they're" | title | "straße" | upper
s.upper() | s.lower() | "hello wORLD".title() | "they're bill's".title() | "aB".swapcase() | "éa".capitalize()
spaced | trim | spaced.strip() | spaced.lstrip() | spaced.rstrip() | "xxaxx".strip("x") | "xyaxy" | trim("xy") | "xa".lstrip("x")
spaced.split() | path.split("/") | path.split("/", 1) | path.rsplit("/", 1) | spaced.split(" ") | " 1 2 3 ".split(none, 1) | lines.splitlines() | lines.splitlines(true)
path.partition("/") | path.rpartition("/") | "abc".partition("x") | "abc".rpartition("x") | "a,b".split(sep=",")
s.startswith("He") | s.endswith("!") | s.startswith(("x", "H")) | s.find("l") | s.rfind("l") | s.find("q") | s.index("W") | s.count("l") | "aaa".count("aa")
s.replace("l", "L") | s.replace("l", "L", 1) | "abc".replace("", "-") | "abc".replace("", "-", 2) | s | replace("l", "L") | s | replace("l", "L", 2)
"-".join(["a", "b"]) | ["a", 1] | join("-") | l | join | users | join(", ", attribute="name") | words | join(" ")
"5".zfill(3) | "-5".zfill(4) | "a".ljust(3) ~ "|" | "a".rjust(3) | "ab".center(5) ~ "|" | "abc" | center(10) ~ "|" | "abcd".center(7, "*")
"abc".isalpha() | "ab1".isalnum() | "12".isdigit() | "½".isnumeric() | " \t".isspace() | "Ab".islower() | "AB".isupper() | "a_1".isidentifier() | "".isalpha()
"abc".removeprefix("a") | "abc".removesuffix("c") | "abc".removesuffix("x") | "é".isascii() | "ß".casefold() | "Ab" is lower
"%s has %d items at %.2f" % (s, 3, 1.5) | "%5d|%-5d|%05d" % (1, 2, 3) | "%x %o %e" % (255, 8, 12345.678) | "%%" % () | "%s" % s | "%r" % s | "%(a)s" % d
"%s-%s" | format("a", "b") | "%(x)s" | format(x=1) | "{} {}".format(1, "a") | "{0} {1} {0}".format(1, 2) | "{a}".format(a=5) | "{:>5}|{:<5}|{:^5}".format(1, 2, 3)
"{:05d} {:.2f} {:,} {:x} {:+d}".format(42, 3.14159, 1234567, 255, 5) | "{!r}".format("a") | "{{}}".format() | "{:.1%}".format(0.256) | "{:*^9}".format("mid")
n | abs | m | abs | f | round | 2.5 | round | 3.5 | round | 2.675 | round(2) | 42.55 | round(1, "floor") | 42.41 | round(1, "ceil") | 7 | round | 1234 | round(-2)
"42" | int | "4.7" | int | "x" | int | "x" | int(5) | "0x1f" | int(0, 16) | " 8 " | int | 3.9 | int | true | int | "1_000" | int | "" | int | none | int
"2.5" | float | "x" | float | "1e3" | float | 3 | float | "nan" | float | "x" | float(1.5) | "inf" | float
l | first | l | last | [] | first is defined | l | sort | l | sort(reverse=true) | words | sort | words | sort(case_sensitive=true) | users | sort(attribute="age") | map(attribute="name") | list
users | sort(attribute="age,name") | map(attribute="name") | join(",") | l | min | l | max | words | min | words | max | users | max(attribute="age") | l | sum | users | sum(attribute="age") | [] | sum | [[1], [2]] | sum(start=[])
l | reverse | list | s | reverse | words | map("upper") | list | words | map("length") | list | users | map(attribute="name") | list | users | map(attribute="ok", default=false) | list | ["1", "2"] | map("int") | sum
users | selectattr("ok") | list | length | users | selectattr("age", "equalto", 30) | map(attribute="name") | list | users | rejectattr("age", "gt", 26) | map(attribute="name") | list | users | selectattr("ok", "defined") | list | length | users | selectattr("name", "in", ["Bo"]) | list | length
l | select("odd") | list | l | reject("odd") | list | l | select(">", 1) | list | [0, 1, "", "a"] | select | list | none | select | list | l | select("divisibleby", 3) | list
[1, 1, 2, "a", "A"] | unique | list | users | unique(attribute="age") | map(attribute="name") | list | l | batch(2) | list | l | batch(2, 0) | list | range(7) | slice(3) | list | range(7) | slice(3, "x") | list
d | dictsort | d | dictsort(true) | d | dictsort(false, "key", true) | {"a": 2, "b": 1} | dictsort(by="value") | users | groupby("age") | list | length
undefined_x | default("d") | none | default("d") | "" | default("d", true) | "" | d("e") | false | default(1, boolean=true) | users[0].missing | default("?") | undefined_x | d
lines | indent | lines | indent(2, true) | lines | indent(2, blank=true) | lines | indent("> ") | "a" | indent | "" | indent(2, true) | lines | indent(width=1, first=true)
"a b c" | wordcount | "foo bar baz qux" | truncate(9) | "foo bar baz qux" | truncate(9, true) | "foo bar baz qux" | truncate(11) | "foo bar baz qux" | truncate(9, true, "..", 0)
quote | escape | quote | e | "<a>" | safe | "<a>"|safe + "<b>" | "<a>" + "<b>"|safe | "<a>"|safe ~ "<b>" | ("<a>"|e)|e | "<"|e is escaped | "a b/é&" | urlencode
n is number | s is string | l is iterable | d is mapping | l is sequence | d is sequence | s is iterable | n is iterable | z is none | undefined_x is undefined | t is boolean | n is boolean | t is true | n is true | f is float | n is integer | t is integer
n is odd | n is even | 9 is divisibleby 3 | 9 is divisibleby(2) | n is eq 7 | n is equalto(8) | n is gt 3 | n is lt(3) | n is ge 7 | n is le 6 | n is ne 7 | n is sameas n | "a" is in "abc" | 1 is in l | n is not odd | range is callable | "upper" is filter | "odd" is test | undefined_x is iterable | (1, 2) is sequence | d.items() is iterable | l|map("abs") is iterable
range(5) | list | (range(2, 8, 3) | list) | (range(5, 0, -2) | list) | range(3) | length | range(3)[1] | 2 in range(3) | dict(a=1, b=2) | dict(d, q=1) | dict([("x", 1)]) | namespace(a=1).a | range(0) | list
strftime_now("%Y-%m-%d") | strftime_now("%d %b %Y %H:%M") | strftime_now("%A %j") | s | length | "" | length | s | list | count | words | count | "日本語" | length | "日本語"[1] | "日本語"[::-1] | "日本語".find("語")
l.index(1) | l.count(3) | l.copy() | d.copy() | (1, 2, 1).count(1) | f.is_integer() | (4.0).is_integer() | "a-b"|replace("-", "+") | users[0]["name"] | users.0.name | users[0].tags[0] | nested[1][1][0] | d['C'][0]
-n | +m | --n | -f | not n | not not n | n and m | 0 or "x" | z or l | "" and 1 | n == 7 and m == -3 | not n == 7 | not (n and false) | 2 + 2 == 4 | -n ** 2 | 2 * -3 | -1 | abs | (-1) | abs
s.foo is defined | s.upper is defined | l.append is defined | messages[0].role | messages | map(attribute="content") | join("|") | messages[-1]["content"] | (messages | first).role | messages | tojson | messages[0] | string | [1, [2, "x"]] | string | "x" | string | none | string | n | string
1.5 | string | 1e300 * 10 | 10.0 ** 20 | 1e22 | 12345678901234567890.0 | 3.0e-10 | 100 / 10 | 7 / 2 | 1 - 0.9 | 1e15 | 1e17 | [1e16, 0.00001]
{"a": {"b": [1, {"c": none}]}} | tojson(indent=1) | [[], {}, [[]]] | tojson(indent=2) | "a\u2028b\x7f" | tojson | {"é": "\\"} | tojson | (1, "x") | tojson | d | attr("a") | "abc" | attr("upper") is callable
"a\tb\x41\u00e9\n\\n\q" | 'it\'s' | "line\
cont" | "\N" | s is not string | n is not none | undefined_x is not defined | undefined_x == undefined_y | undefined_x | length | undefined_x | list | undefined_x ~ "a" | undefined_x or "b"
"""

ERRORS = r"""
{{ undefined_x.y }}|||{{ undefined_x["y"] }}|||{{ undefined_x() }}|||{{ undefined_x + 1 }}|||{{ 1 + "a" }}|||{{ "a" + 1 }}|||{{ l + "a" }}
{{ 1 / 0 }}|||{{ 1 // 0 }}|||{{ 1 % 0 }}|||{{ n() }}|||{{ n.x.y }}|||{{ d.missing.more }}|||{{ l.append(1) }}|||{{ d.update({}) }}|||{{ d.pop("a") }}
{{ raise_exception("no!") }}|||{{ "a" < 1 }}|||{{ [1] | sum("x") | upper | foo }}|||{{ 1 in 5 }}|||{{ 1 in "a" }}|||{{ s.replace("a") }}|||{{ s.nomethod() }}
{{ l | map(attribute="x") | list }}|||{{ users | map(attribute="name.first") | list }}|||{% for a, b in l %}{{ a }}{% endfor %}|||{% for a in 5 %}{% endfor %}
{{ {}[[]] }}|||{{ {[1]: 2} }}|||{{ d.get([]) }}|||{{ range(200000) }}|||{{ s.split("") }}|||{{ s.index("q") }}|||{{ l.index(9) }}|||{{ n | length }}
{{ l | select("nosuch") | list }}|||{{ l | map("nosuch") | list }}|||{{ x|nosuch }}|||{{ x is nosuch }}|||{{ "%d" % "x" }}|||{{ "%s %s" % "a" }}|||{{ "%s" % (1, 2) }}
{{ "{} {}".format(1) }}|||{{ [1, "a"] | sort }}|||{{ [1, "a"] | max }}|||{{ d.items() | first | upper | tojson + 1 }}|||{{ (l | map("abs"))[0] }}|||{{ l | map("abs") | length }}
{% set l.x = 1 %}|||{% set d["x"] = 1 %}|||{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}|||{% macro m(a) %}{% endmacro %}{{ m(b=2) }}|||{% macro m(a) %}{{ a.b }}{% endmacro %}{{ m() }}
{{ }}|||{{ 1 + }}|||{{ (1 }}|||{{ [1, 2 }}|||{{ "abc }}|||{% if %}{% endif %}|||{% if 1 %}|||{% endif %}|||{% for x in l %}|||{% else %}|||{% foo %}|||{{ 1 2 }}|||{{ a b }}
{% for in l %}{% endfor %}|||{% set %}|||{% set x %}|||{% macro %}{% endmacro %}|||{# unclosed|||{% raw %}x|||{{ x | }}|||{{ x is }}|||{{ x. }}|||{{ x[ }}|||{{ x[] }}|||{{ } }}|||{{ ) }}
{{ f(a=1, 2) }}|||{% break %}|||{% block x %}|||{% include "x" %}|||{{ 1 if }}|||{{ not }}|||{% if x %}{% elif %}{% endif %}|||{{ "\x4" }}|||{{ @ }}|||{% call 1 %}{% endcall %}|||{{ 1 is odd is even }}
{{ none.x.y }}|||{{ none | selectattr("x") | first | upper | foo() }}|||{{ n[0] + 1 }}|||{{ l["x"] + 1 }}|||{{ z + 1 }}|||{{ -s }}|||{{ undefined_x < 1 }}|||{{ undefined_x | int }}|||{{ none | length }}
"""

STATEMENTS = [
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ x }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }} {% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}|{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{% else %}e{% endfor %}|{% for x in l if x > 9 %}a{% else %}e{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'añb' %}[{{ c }}]{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if loop.last %}!{% endif %}{% endfor %}{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}",
    "{% set ns = namespace(n=0, s='') %}{% for i in l %}{% set ns.n = ns.n + i %}{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.n }}{{ ns.s }}{{ ns.q is defined }}",
    "{% set x %}a{{ n }}b{% set y = 5 %}{% endset %}{{ x }}{{ y is defined }}{{ x | upper }}{% set z | upper | trim %}  abc {% endset %}{{ z }}",
    "{% macro m(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c=4) }}{{ m(b=1, a=0) }}{{ m() }}{{ m(1) | length }}{{ m.name }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(x) %}<{{ caller(x) }}>{% endmacro %}{% call(y) m(5) %}y={{ y }} n={{ n }}{% endcall %}{% macro w() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call w() %}z{% endcall %}",
    "{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro outer(a) %}{% macro inner(b) %}{{ a }}{{ b }}{% endmacro %}{{ inner(2) }}{% endmacro %}{{ outer(1) }}",
    "{% set g = 1 %}{% macro m() %}{{ g }}{% set g = 5 %}{{ g }}{% endmacro %}{{ m() }}{{ g }}",
    "{% macro m(a=n) %}{{ a }}{% endmacro %}{% set n = 9 %}{{ m() }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}{% filter replace('a', 'b') | trim %} aaa {% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% set a = 2 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% raw %}{{ x }}{% if %}{# #}{% endraw %}|{%- raw -%}  {{ y }}  {%- endraw -%}  |",
    "a {# c #} b {#- d -#} c\n{# e #}\nd\n  {# f #}\ne",
    "{% if t %}\n  yes\n{% else %}\n  no\n{% endif %}\nend\n",
    "  {% if t %}  \n  x\n  {% endif %}  \n y\n\n",
    "a\n  {%- if t %} b {% endif -%}  \n c",
    "a\n  {%+ if t %} b {% endif +%}\n c\n  {{- n -}}  \n d {{ n }}\n",
    "{{ n }}\n{{ n }}\n\n{% set x = 1 %}\n\n{% set y = 2 -%}\n\n{{ x }}",
    "\n{% if t %}x{% endif %}\n\n", "x\n", "x\n\n", "\r\na\r\nb\rc\r\n", "", "{{ '' }}\n", "   {{ n }}   ", "\t{% if t %}\tx{% endif %}",
    "{% if z %}a{% elif n > 5 %}b{% elif t %}c{% else %}d{% endif %}{% if not n %}a{% elif false %}b{% else %}e{% endif %}",
    "{% if n is defined and n > 1 or z %}x{% endif %}{% if undefined_x %}y{% else %}w{% endif %}",
    "{% generation %}abc {{ n }}{% endgeneration %}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}",
    "{% set q = l | map('string') %}{{ q | join('-') }}|{{ q | join('-') }}|{% if q %}t{% endif %}",
    "{% set q = users | selectattr('ok') %}{{ (q | first).name }}|{{ q | list }}",
    "{% set it = d | items %}{% for k, v in it %}{{ k }}{% endfor %}|{% for k, v in it %}{{ k }}{% endfor %}",
    "{{ {'a': {'b': 1}}.a.b }}{{ [1, 2, 3][1:] }}{{ 'abc'[1] }}{{ (1, 2)[0] }}{{ {'x': 1}['x'] }}{{ {'a': 1, 'a': 2} }}{{ {1: 'i', 1.0: 'f', true: 't'} }}",
    "{% print n, s %}{{ 1, 2 }}{{ n if t }}{{ [n, s] | join(',') }}{{ ('a', 'b') | join }}",
    "{{ ('x' ~ s) | replace('x', 'y') ~ ('z' if t else '') }}{{ (s if n else '') ~ '!' }}",
    "{% set ns = namespace() %}{% set ns.a = [] %}{% for m in messages %}{% set ns.a = ns.a + [m.role] %}{% endfor %}{{ ns.a }}",
    "{%- for m in messages -%}\n  {{ m.role }}: {{ m.content }}\n{%- if not loop.last %}, {% endif %}\n{%- endfor %}",
    "{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in l %}{% set outer = loop %}{% for y in 'ab' %}{{ outer.index }}{{ y }}{% endfor %}{% endfor %}",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}{{ \"{# x #}\" }}{{ {'a': {'b': {}}}}}",
    "{% set x = {'a': 1} %}{% set y = dict(x, b=2) %}{{ x }}{{ y }}{% set x = x %}{{ x.a }}",
    "{% set content = messages[0]['content'] | trim %}{{ '<|im_start|>' + messages[0]['role'] + '\\n' + content + '<|im_end|>' }}",
    "{{ undefined_x }}|{{ users[0].missing }}|{{ none }}|{{ true }}|{{ [undefined_x] }}|{{ {'a': undefined_x} }}",
    "{% for x in undefined_x %}a{% else %}b{% endfor %}{% for k in z or [] %}c{% endfor %}",
    "{% if 'x' in d and d['x'] %}a{% else %}b{% endif %}{{ 'a' if 'a' in d }}{{ d.a if d.a is defined else 'q' }}",
    "{% macro a(x) %}{{ x }}{% endmacro %}{% macro b(x) %}{{ a(x) ~ a(x) }}{% endmacro %}{{ b('<') }}{{ b(a(1)) }}",
    "{% set x = 5 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 6 %}{{ m() }}",
    "{% for m in messages %}{% if loop.index0 == messages | length - 1 %}last{% endif %}{% endfor %}{{ messages[1:] | map(attribute='role') | list }}",
]


def jinja_cases():
    for line in EXPRESSIONS.replace("\\\ncont", "\\\x00cont").strip().split("\n"):
        line = line.replace("\x00", "\n")
        # "a | b | c" is ambiguous: every run of the pieces that parses is a case of its own
        parts = line.split(" | ")
        for i in range(len(parts)):
            for k in range(i + 1, min(i + 4, len(parts)) + 1):
                expression = " | ".join(parts[i:k])
                if k == i + 1 or parts[k - 1].split("(")[0].split(" ")[0] in ENV.filters:
                    yield "{{ " + expression + " }}"
    for line in ERRORS.strip().split("\n"):
        yield from line.split("|||")
    yield from STATEMENTS


def write_jinja():
    with open(os.path.join(OUT, "jinja.jsonl"), "w") as f:
        f.write(json.dumps({"context": CONTEXT}) + "\n")
        for template in dict.fromkeys(jinja_cases()):
            got = render(template, CONTEXT)
            if " at 0x" not in got.get("result", ""):  # a generator prints its address
                f.write(json.dumps({"template": template, **got}) + "\n")


def write_templates(data):
    folder = os.path.join(data, "templates")
    contexts = {}
    for path in sorted(glob.glob(os.path.join(folder, "minja-contexts", "*.json"))):
        with open(path) as f:
            contexts[os.path.basename(path)] = json.load(f)
    with open(os.path.join(OUT, "templates.txt"), "w") as out:
        for path in sorted(glob.glob(os.path.join(folder, "*", "*.jinja"))):
            with open(path, newline="") as f:
                template = f.read()
            for name, context in contexts.items():
                for flag in (False, True):
                    got = render(template, {**context, "add_generation_prompt": flag})
                    text = hashlib.sha256(got["result"].encode()).hexdigest() if "result" in got else "error"
                    out.write(f"{os.path.relpath(path, folder)} {name} {int(flag)} {text}\n")


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    write_tokens()
    write_jinja()
    if len(sys.argv) > 1:
        write_templates(sys.argv[1])
