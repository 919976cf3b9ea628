#!/usr/bin/env python3
"""The data of the demo's fine-tuning: additions in Portuguese, which petit has never seen.

    make_demo.py          writes demo/train.jsonl (300 examples) and demo/eval.jsonl (40 held out)

Same traces and split as generate.py, with the words below. Python 3 standard library only.
"""

import pathlib
import random

import generate

WORDS = {
    "names": ("Unidades", "Dezenas", "Centenas", "Milhares"),
    "write": "escrevo {d}", "carry": "vai {c}", "so": "Logo", "answer": "A resposta é",
}
PROMPTS = (
    "Quanto é {a} mais {b}?", "Soma {a} e {b}.", "Quanto dá {a}+{b}?",
    "A Ana tem {a} maçãs e apanha mais {b}. Quantas maçãs tem ela?")


def rows(count, seed, want_held_out):
    rng = random.Random(seed)
    seen, out = set(), []
    while len(out) < count:
        a, b = generate.number(rng, 3), generate.number(rng, 3)
        key = ("add", *sorted((a, b)))
        if key in seen or generate.held_out(key) != want_held_out:
            continue
        seen.add(key)
        out.append((rng.choice(PROMPTS).format(a=a, b=b), generate.trace_add(a, b, WORDS), a + b))
    return out


def main():
    folder = pathlib.Path(__file__).parent / "demo"
    folder.mkdir(exist_ok=True)
    train = [{"messages": [
        {"role": "user", "content": question},
        {"role": "assistant", "reasoning_content": trace,
         "content": f"{WORDS['answer']} \\boxed{{{answer}}}."}]}
        for question, trace, answer in rows(300, 11, False)]
    held_out = [{"messages": [{"role": "user", "content": question}], "task": "add", "lang": "pt",
                 "answer": answer, "expected_trace": trace}
                for question, trace, answer in rows(40, 12, True)]
    generate.write_lines(folder / "train.jsonl", train)
    generate.write_lines(folder / "eval.jsonl", held_out)


if __name__ == "__main__":
    main()
