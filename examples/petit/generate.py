#!/usr/bin/env python3
"""Questions with written-out reasoning for the tiny model petit, in five languages.

    generate.py train --count N --seed S --out FILE      chat JSONL for fine-tuning
    generate.py eval  --per-cell N --seed S --out FILE   held-out problems, N per task x language
    generate.py score --problems EVAL --outputs OUT      accuracy per task x language

A problem is held out when a hash of its canonical form (task and operands; the word alone for
`count`) is a multiple of ten: it is then never a training problem, whatever the seed. Every
example is checked by `verify`, which knows arithmetic but not how traces are built.
Python 3 standard library only; the output depends on nothing but the arguments.
"""

import argparse
import functools
import json
import random
import re
import sys
import zlib

from languages import LANGS, PROMPTS, QUOTES, TRACE, WORDS

TASKS = ("add", "sub", "mul1", "mul2", "cmp", "count", "chain")
MIX = {"add": 2.0, "sub": 3.0, "mul1": 2.0, "mul2": 2.5, "cmp": 3.0, "count": 3.0, "chain": 2.5}
HELD_OUT_EVERY = 10
MAX_WORD = 10


# --- traces ------------------------------------------------------------------------------------

def digits(n, width):
    """Digits of n from the units up, padded with zeros to width."""
    return [n // 10 ** i % 10 for i in range(width)]


def trace_add(a, b, words):
    width = len(str(max(a, b)))
    out, carry = [], 0
    for i, (x, y) in enumerate(zip(digits(a, width), digits(b, width))):
        s = x + y + carry
        column = f"{words['names'][i]}: {x}+{y}{'+1' if carry else ''}={s}"
        carry = s // 10
        if carry and i + 1 < width:
            column += ", " + words["write"].format(d=s % 10)
            column += ", " + words["carry"].format(c=carry)
        out.append(column + ".")
    return f"{a}+{b}: {' '.join(out)} {words['so']} {a}+{b}={a + b}."


def trace_compare(a, b, words):
    """Columns from the top down to the first that differs, without the final full stop."""
    width = len(str(max(a, b)))
    out = []
    for i in reversed(range(width)):
        x, y = digits(a, width)[i], digits(b, width)[i]
        out.append(f"{words['names'][i]}: {x}{'=><'[(x > y) - (x < y)]}{y}")
        if x != y:
            break
    return ". ".join(out)


def trace_sub(a, b, words):
    """Compare first (is the result negative?), then columns from the units up."""
    head = f"{a}-{b}: {trace_compare(a, b, words)}"
    if a < b:
        return (f"{head}, {words['neg']}. {b}-{a}: {sub_columns(b, a, words)}"
                f" {words['so']} {b}-{a}={b - a}. {words['so']} {a}-{b}={a - b}.")
    return f"{head}. {sub_columns(a, b, words)} {words['so']} {a}-{b}={a - b}."


def sub_columns(a, b, words):
    """A borrowed ten is given back by adding one to the next lower digit."""
    width = len(str(a))
    out, borrow = [], 0
    for i, (x, y) in enumerate(zip(digits(a, width), digits(b, width))):
        column = f"{words['names'][i]}: "
        if borrow:
            column += f"{y}+1={y + 1}, "
            y += 1
        borrow = int(x < y)
        if borrow:
            column += f"{x}-{y}<0: {x + 10}-{y}={x + 10 - y}, {words['carry'].format(c=1)}"
        else:
            column += f"{x}-{y}={x - y}"
        out.append(column + ".")
    return " ".join(out)


def trace_mul1(a, d, words):
    width = len(str(a))
    out, carry = [], 0
    for i, x in enumerate(digits(a, width)):
        s = x * d
        column = f"{words['names'][i]}: {x}×{d}={s}"
        if carry:
            column += f", {s}+{carry}={s + carry}"
            s += carry
        carry = s // 10
        if carry and i + 1 < width:
            column += ", " + words["write"].format(d=s % 10)
            column += ", " + words["carry"].format(c=carry)
        out.append(column + ".")
    return f"{a}×{d}: {' '.join(out)} {words['so']} {a}×{d}={a * d}."


def trace_mul2(a, b, words):
    ones, tens = b % 10, b // 10
    return " ".join((
        words["first"], trace_mul1(a, ones, words), words["then"], trace_mul1(a, tens, words),
        words["then"], trace_add(a * ones, 10 * a * tens, words)))


def trace_cmp(a, b, kind, words):
    first = (a > b) == (kind == "larger")
    side, value = (words["first_of"], a) if first else (words["second_of"], b)
    return f"{a}, {b}: {trace_compare(a, b, words)}. {words[kind]}: {side}, {value}."


def trace_count(letter, word, words):
    steps, hits = [], 0
    for i, c in enumerate(word, 1):
        hits += c == letter
        steps.append(f"{i}:{c}{'=' if c == letter else '≠'}{letter},{hits}")
    return f"{words['look']} \"{letter}\": {' '.join(steps)}. {words['there'].format(n=hits)}."


def trace_chain(a, op1, b, op2, c, words):
    step = {"+": trace_add, "-": trace_sub}
    value = a + b if op1 == "+" else a - b
    return " ".join((words["first"], step[op1](a, b, words), words["then"],
                     step[op2](value, c, words)))


# --- problems ----------------------------------------------------------------------------------

def number(rng, most, least=1):
    """A number whose digit count is uniform in least..most."""
    n = rng.randint(least, most)
    return rng.randrange(10 ** (n - 1) if n > 1 else 0, 10 ** n)


def expression(rng, *parts):
    """Operands and operators joined with or without spaces; × is sometimes typed * or x."""
    times = rng.choice("××*x")
    gap = " " if times == "x" and "×" in parts else rng.choice(("", " "))
    return gap.join(str(p) for p in parts).replace("×", times)


def ask(rng, lang, sentences, e, **values):
    """60 % bare expressions, 40 % sentences."""
    kind = ("expr",) if rng.random() < 0.6 else sentences
    templates = [t for k in kind for t in PROMPTS[lang][k]]
    return rng.choice(templates).format(e=e, **values)


def draw_add(rng, lang, words):
    a, b = number(rng, 3), number(rng, 3)
    question = ask(rng, lang, ("add",), expression(rng, a, "+", b), a=a, b=b)
    return ("add", *sorted((a, b))), question, trace_add(a, b, words), a + b


def draw_sub(rng, lang, words):
    a, b = number(rng, 3), number(rng, 3)
    if (a < b) == (rng.random() < 0.8):
        a, b = b, a
    kinds = ("sub", "sub_ge") if a >= b else ("sub",)
    question = ask(rng, lang, kinds, expression(rng, a, "-", b), a=a, b=b)
    return ("sub", *sorted((a, b))), question, trace_sub(a, b, words), a - b


def draw_mul(rng, lang, words, a, b, task, trace):
    """The one-digit operand is sometimes asked first; the trace puts it second."""
    x, y = (b, a) if task == "mul1" and rng.random() < 0.15 else (a, b)
    question = ask(rng, lang, ("mul",), expression(rng, x, "×", y), a=x, b=y)
    return (task, *sorted((a, b))), question, trace(a, b, words), a * b


def draw_mul1(rng, lang, words):
    a, d = number(rng, 3), rng.randrange(10)
    return draw_mul(rng, lang, words, a, d, "mul1", trace_mul1)


def draw_mul2(rng, lang, words):
    a, b = rng.randrange(10, 100), rng.randrange(10, 100)
    return draw_mul(rng, lang, words, a, b, "mul2", trace_mul2)


def draw_cmp(rng, lang, words):
    """70 % equal lengths, 40 % of those close together: the hard cases on purpose."""
    a = b = number(rng, 4)
    while a == b:
        if rng.random() < 0.3:
            b = number(rng, 4)
        elif rng.random() < 0.4:
            b = max(0, a + rng.randint(-9, 9))
        else:
            size = len(str(a))
            b = number(rng, size, size)
    kind = rng.choice(("larger", "smaller"))
    question = rng.choice(PROMPTS[lang][kind]).format(a=a, b=b)
    answer = max(a, b) if kind == "larger" else min(a, b)
    return ("cmp", *sorted((a, b))), question, trace_cmp(a, b, kind, words), answer


def invent_word(rng):
    """Syllables with the odd double letter, cluster or final consonant; 2 to MAX_WORD letters."""
    consonants, vowels = "bcdfghjklmnpqrstvwxz", "aeiouy"
    while True:
        word = ""
        for _ in range(rng.randint(1, 4)):
            onset = rng.choice(consonants)
            word += onset * 2 if word and rng.random() < 0.15 else onset
            word += rng.choice("rlhnt") if rng.random() < 0.15 else ""
            word += rng.choice(vowels) * (2 if rng.random() < 0.1 else 1)
            word += word[-2:] if rng.random() < 0.1 else ""
        word += rng.choice(consonants) if rng.random() < 0.3 else ""
        if 2 <= len(word) <= MAX_WORD:
            return word


def draw_count(rng, lang, words):
    word = rng.choice(WORDS[lang]) if rng.random() < 0.2 else invent_word(rng)
    absent = rng.random() < 0.15
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz" if absent else word)
    question = rng.choice(PROMPTS[lang]["count"]).format(l=letter, w=word)
    if rng.random() < 0.25:
        question = re.sub(r'"(\w+)"', "{}\\1{}".format(*QUOTES[lang]), question)
    return ("count", word), question, trace_count(letter, word, words), word.count(letter)


def draw_chain(rng, lang, words):
    """Two steps on one- or two-digit numbers; no value on the way is negative."""
    while True:
        a, b, c = (number(rng, 2) for _ in range(3))
        op1, op2 = rng.choice("+-"), rng.choice("+-")
        value = a + b if op1 == "+" else a - b
        answer = value + c if op2 == "+" else value - c
        if value >= 0 and answer >= 0:
            break
    template = rng.choice(PROMPTS[lang]["expr"])
    question = template.format(e=expression(rng, a, op1, b, op2, c))
    return ("chain", a, op1, b, op2, c), question, trace_chain(a, op1, b, op2, c, words), answer


DRAW = {"add": draw_add, "sub": draw_sub, "mul1": draw_mul1, "mul2": draw_mul2, "cmp": draw_cmp,
        "count": draw_count, "chain": draw_chain}


def held_out(key):
    return zlib.crc32(":".join(map(str, key)).encode()) % HELD_OUT_EVERY == 0


def problem(rng, task, lang, want_held_out):
    """One verified problem of the wanted side of the split."""
    words = TRACE[lang]
    while True:
        key, question, trace, answer = DRAW[task](rng, lang, words)
        if held_out(key) == want_held_out:
            break
    content = f"{words['answer']} \\boxed{{{answer}}}."
    assert verify(task, trace, content, answer) and in_language(lang, trace), (question, trace)
    return {"key": key, "question": question, "trace": trace, "answer": answer,
            "content": content}


# --- checking ----------------------------------------------------------------------------------

STATEMENT = re.compile(r"(?<![\d:])(\d+(?:[-+×]\d+)*)([=<>])(-?\d+)")
LETTER_STEP = re.compile(r"(\d+):(\w)([=≠])(\w),(\d+)")
BOXED = re.compile(r"\\boxed\{(-?\d+)\}")
WORD = re.compile(r"[^\W\d_]{2,}")


def value_of(expr):
    """Value of a chain of +, - and × of plain numbers."""
    total = 0
    for sign, term in re.findall(r"([-+]?)(\d+(?:×\d+)*)", expr):
        product = 1
        for factor in term.split("×"):
            product *= int(factor)
        total += -product if sign == "-" else product
    return total


def statements_hold(trace):
    """Is every equation, comparison and letter step written in the trace true?"""
    for left, relation, right in STATEMENT.findall(trace):
        x, y = value_of(left), int(right)
        if not {"=": x == y, "<": x < y, ">": x > y}[relation]:
            return False
    hits = 0
    for i, (index, c, relation, letter, count) in enumerate(LETTER_STEP.findall(trace), 1):
        hits += c == letter
        if int(index) != i or (relation == "=") != (c == letter) or int(count) != hits:
            return False
    return True


def boxed(content):
    found = BOXED.findall(content)
    return int(found[0]) if len(found) == 1 else None


def verify(task, trace, content, answer):
    """The boxed answer is right, the trace states only true things and ends on the answer."""
    last = re.findall(r"-?\d+", trace)
    right_end = bool(last) and abs(int(last[-1])) == abs(answer)
    return task in TASKS and boxed(content) == answer and right_end and statements_hold(trace)


@functools.lru_cache(None)
def vocabulary(lang):
    """Every word of two letters or more that a trace or an answer may contain in a language."""
    parts = [" ".join(v) if isinstance(v, tuple) else v for v in TRACE[lang].values()]
    return {w.lower() for w in WORD.findall(re.sub(r"\{\w+\}", "", " ".join(parts)))}


def in_language(lang, trace):
    """All words of the trace belong to the closed list of the language, and there are some."""
    found = [w.lower() for w in WORD.findall(trace)]
    return bool(found) and all(w in vocabulary(lang) for w in found)


# --- commands ----------------------------------------------------------------------------------

def write_lines(path, rows):
    out = sys.stdout if path == "-" else open(path, "w", encoding="utf-8")
    for row in rows:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
    if out is not sys.stdout:
        out.close()


def training_rows(count, seed, mix=MIX):
    rng = random.Random(seed)
    for _ in range(count):
        task = rng.choices(list(mix), list(mix.values()))[0]
        p = problem(rng, task, rng.choice(LANGS), False)
        yield {"messages": [
            {"role": "user", "content": p["question"]},
            {"role": "assistant", "reasoning_content": p["trace"], "content": p["content"]}]}


def eval_rows(per_cell, seed):
    """Distinct questions in every cell."""
    for task in TASKS:
        for lang in LANGS:
            rng = random.Random(f"{seed} {task} {lang}")
            seen = set()
            while len(seen) < per_cell:
                p = problem(rng, task, lang, True)
                if p["question"] in seen:
                    continue
                seen.add(p["question"])
                yield {"messages": [{"role": "user", "content": p["question"]}],
                       "task": task, "lang": lang, "answer": p["answer"],
                       "expected_trace": p["trace"]}


def read_lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def split_output(row):
    """(trace, content) of one output line; the trace is None when it is not well formed."""
    if "reasoning_content" in row:
        return row["reasoning_content"], row.get("content") or ""
    text = row["text"].strip().removeprefix("<s>").removesuffix("</s>").strip()
    m = re.fullmatch(r"\[THINK\](.*?)\[/THINK\](.*)", text, re.S)
    return (m[1].strip(), m[2].strip()) if m else (None, text)


def judge(problem_row, output_row):
    trace, content = split_output(output_row)
    return {"exact": boxed(content) == problem_row["answer"],
            "language": trace is not None and in_language(problem_row["lang"], trace),
            "true": trace is not None and statements_hold(trace),
            "same": trace == problem_row["expected_trace"]}


def rate(rows, name):
    return sum(r[name] for r in rows) / len(rows) if rows else float("nan")


def summary(problems, outputs):
    rows = [dict(judge(p, o), task=p["task"], lang=p["lang"])
            for p, o in zip(problems, outputs)]
    tasks = [t for t in TASKS if any(r["task"] == t for r in rows)]

    def pick(task, lang):
        return [r for r in rows if task in (None, r["task"]) and lang in (None, r["lang"])]

    table = {str(t or "all"): {str(g or "all"): rate(pick(t, g), "exact")
                               for g in (None, *LANGS)} for t in (*tasks, None)}
    return {"n": len(rows), "exact": table, "language": rate(rows, "language"),
            "language_by": {g: rate(pick(None, g), "language") for g in LANGS},
            "true_trace": rate(rows, "true"), "same_trace": rate(rows, "same")}


def markdown(result):
    out = [f"| task | all | {' | '.join(LANGS)} |", "| --- |" + " --- |" * (len(LANGS) + 1)]
    for task, cells in result["exact"].items():
        name = "**all**" if task == "all" else task
        out.append(f"| {name} | " + " | ".join(f"{100 * v:.1f}" for v in cells.values()) + " |")
    by = ", ".join(f"{g} {100 * v:.1f}" for g, v in result["language_by"].items())
    out.append(f"\n{result['n']} problems. Trace in the language of the question: "
               f"{100 * result['language']:.1f} % ({by}).")
    out.append(f"Only true statements in the trace: {100 * result['true_trace']:.1f} %; "
               f"trace exactly as expected: {100 * result['same_trace']:.1f} %.")
    return "\n".join(out)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = parser.add_subparsers(dest="command", required=True)
    train = sub.add_parser("train", help="write training examples")
    train.add_argument("--count", type=int, required=True)
    evaluate = sub.add_parser("eval", help="write held-out problems")
    evaluate.add_argument("--per-cell", type=int, default=20)
    for p, seed in ((train, 1), (evaluate, 2)):
        p.add_argument("--seed", type=int, default=seed)
        p.add_argument("--out", default="-")
    score = sub.add_parser("score", help="judge model outputs")
    score.add_argument("--problems", required=True)
    score.add_argument("--outputs", required=True)
    score.add_argument("--json", action="store_true")
    return parser.parse_args()


def main():
    args = parse_args()
    if args.command == "train":
        write_lines(args.out, training_rows(args.count, args.seed))
    elif args.command == "eval":
        write_lines(args.out, eval_rows(args.per_cell, args.seed))
    else:
        problems, outputs = read_lines(args.problems), read_lines(args.outputs)
        if len(problems) != len(outputs):
            sys.exit(f"{len(problems)} problems but {len(outputs)} outputs")
        result = summary(problems, outputs)
        print(json.dumps(result) if args.json else markdown(result))


if __name__ == "__main__":
    main()
