#!/usr/bin/env python3
"""Writes a deterministic text of many scripts for comparing tokenizers, to standard output.

usage: make_mixed_text.py [--bytes N] [--seed S] [--lines]

Words of twelve European languages, Arabic, Hebrew, Hindi, Thai, Chinese, Japanese and Korean, source
code, numbers, emoji and their sequences, odd white space, marks without a base, compatibility
characters, control characters, special-token lookalikes, and random code points of Unicode 3.2,
recombined by a seeded generator. Valid UTF-8 without NUL. With --lines each line is one JSON string.
"""
import argparse
import json
import random
import sys
import unicodedata

WORDS = {
    "en": "the quick brown fox don't can't they're I've we'll he'd it's IT'S You'RE jumps over lazy dogs "
          "naïve café co-operate e-mail O'Neill Mr. U.S.A. tokenization antidisestablishmentarianism",
    "de": "über Straße größer Übermut Donaudampfschifffahrtsgesellschaft und nicht für Öl ÄPFEL Füße "
          "Grundstücksverkehrsgenehmigungszuständigkeit daß Maß schön STRASSE ẞ",
    "fr": "l'été où ça naïf cœur Noël aujourd'hui qu'est-ce garçon déjà être Œuvre À l’heure « bonjour »",
    "es": "¿Dónde está el niño? ¡Qué año! mañana corazón pingüino jalapeño España también según",
    "it": "perché città così più università l'università dell'arte già è c'è virtù",
    "pt": "não coração ação você irmã pão avó avô pôr informações São João à às",
    "nl": "het ijsje IJsselmeer geïnteresseerd coördinatie 's-Gravenhage zee-egel één vóór",
    "pl": "zażółć gęślą jaźń Łódź źdźbło chrząszcz brzmi w trzcinie Szczebrzeszyn ŻÓŁW",
    "cs": "příliš žluťoučký kůň úpěl ďábelské ódy Řeka čeština ŠKODA",
    "sv": "räksmörgås Åland över själv hjärta Ängelholm förälskelse",
    "el": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία ΟΔΥΣΣΕΥΣ λόγος άέήίόύώ ΐ ΰ Ελλάδα;",
    "ru": "Съешь же ещё этих мягких французских булок ЁЛКА йод подъезд Москва — столица",
    "tr": "İstanbul ıspanak çığ şişe ğ IĞDIR İzmir güneş",
    "ar": "مرحبا بالعالم العربية لغة جميلة ١٢٣ السَّلَامُ عَلَيْكُمْ ﷺ لا",
    "he": "שלום עולם בְּרֵאשִׁית ישראל",
    "hi": "नमस्ते दुनिया हिन्दी क्षत्रिय १२३ ज़िंदगी",
    "th": "สวัสดีชาวโลก ภาษาไทย กำลัง ๑๒๓",
    "zh": "你好世界 人工智能 机器学习 中华人民共和国 繁體字 龍 𠮷 。，！？「」",
    "ja": "こんにちは世界 カタカナ ひらがな 東京都 コンピューター ｶﾀｶﾅ ﾊﾞﾊﾟ がぎぐ ー々〆",
    "ko": "안녕하세요 세계 한국어 각 각 대한민국 ㄱㄴㄷ",
}
EMOJI = ("😀 🚀 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🇪🇺 ❤️ ☎ ✈︎ 🤦🏾‍♂️ #️⃣ 🧑🏻‍🔬 ⌚ 🫠 ©️").split()
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u200b",
          "\u2028", "\u2029", "\u0085", "\u202f", "\u205f", "\u1680", "\ufeff", "\u000b", "\u000c", "     ",
          "\u2009\u200a", "\u180e", "\r", "\t\t  "]
ODD = ["\u0301", "e\u0301", "\u0301e", "a\u0323\u0307", "a\u0307\u0323", "\u0344", "\u212b", "\u00c5", "ﬁ", "ﬃ",
       "①", "㈱", "½", "x²", "Ⅳ", "ⅷ", "Ａｂ１", "\u1100\u1161\u11a8", "\uac00\u11a8", "\u0f73", "\u09c7\u09be", "…", "‥",
       "\u2126", "\u00b5", "\u017f", "'ſ", "ǆ", "ŉ", "\u1e9b\u0323", "\u0130", "ΐ", "ꙮ", "\u200d", "\u200c", "\u00ad",
       "\u0600", "\ufffd", "\x07", "\x1b[0m", "\x7f", "\x9f", "\u2581", "▁▁", "\u2581the", "Ġ", "Ċ", "<0x41>", "<0x0A>",
       "##ing", "\u3099", "か\u3099", "\u0653", "ا\u0653", "\ue000", "\U000f0000", "\U0001f170", "\u24b6", "𝔘𝔫𝔦", "\u0378",
       "¨", "´", "\u037e", "\u0387", "\uf900", "\U0002f800", "＇", "’s", "'S", "'T", "‘ve"]
SPECIAL = ["<s>", "</s>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "<|endoftext|>", "<|im_start|>", "<|im_end|>",
           "<pad>", "<extra_id_0>", " <extra_id_7> ", "[INST]", "<think>", "<|begin_of_text|>", "< s>", "<|im_start",
           "<｜begin▁of▁sentence｜>", "<|start|>", "<tool_call>", "[UNK]x", "x[PAD]", "<mask>"]
CODE = ["def f(x):\n    return x ** 2\n", "for (int i = 0; i < n; i++) {\n\ta[i] += b[i];\n}\n", "#include <stdio.h>\n",
        "SELECT * FROM t WHERE a='b' AND c != \"d\";\n", "{\"key\": [1, 2.5e-10, null, true]}\n", "x=>x?.y??z\n",
        "<div class=\"a b\">&nbsp;</div>\n", "https://example.org/a/b?c=d&e=%20f#g", "git commit -m 'fix: y'\n",
        "\\begin{align}a&=b\\\\c&=d\\end{align}\n", "if __name__ == '__main__':\n", "//----------------\n", "/* **** */",
        "0xDEADBEEF 1_000_000 1e-9 3.14159", "a.b.c->d::e<f, g>()", "'''doc'''\n", "        deep();\n", "==== !!!! ????\n"]


def number(r):
    return r.choice(["%d" % r.randrange(10 ** r.randrange(1, 14)), "%.*f" % (r.randrange(5), r.random() * 1000),
                     "%d,%03d" % (r.randrange(1000), r.randrange(1000)), "%02d:%02d" % (r.randrange(24), r.randrange(60)),
                     "٠١٢٣"[r.randrange(4)] * r.randrange(1, 4), "%d%%" % r.randrange(100), "½", "1º"])


def code_point(r):
    while True:
        c = r.choice([r.randrange(1, 0x250), r.randrange(1, 0x3000), r.randrange(0x3000, 0x10000), r.randrange(1, 0x30000)])
        if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs"):  # known to every library there is
            return chr(c)


def sentence(r):
    kind = r.random()
    if kind < 0.55:
        words = WORDS[r.choice(sorted(WORDS))].split(" ")
        picked = [r.choice(words) for _ in range(r.randrange(3, 16))]
        if r.random() < 0.2:
            picked = [r.choice([str.upper, str.lower, str.title])(w) for w in picked]
        out = picked[0]
        for w in picked[1:]:
            out += (" " if r.random() < 0.93 else r.choice(SPACES + [", ", "-", "", "/", " — "])) + w
        return out + r.choice([".", "!", "?", "...", ":", "", "\n", ".\n\n", ";"])
    if kind < 0.65:
        return r.choice(CODE)
    if kind < 0.72:
        return " ".join(number(r) for _ in range(r.randrange(1, 6)))
    if kind < 0.78:
        return "".join(r.choice(EMOJI) for _ in range(r.randrange(1, 5)))
    if kind < 0.86:
        return r.choice(["", " "]).join(r.choice(ODD) for _ in range(r.randrange(1, 7)))
    if kind < 0.90:
        return r.choice(SPACES) * r.randrange(1, 6)
    if kind < 0.94:
        return r.choice(SPECIAL)
    if kind < 0.97:
        return "".join(code_point(r) for _ in range(r.randrange(1, 12)))
    return r.choice("aA.-=_ !é中🚀1") * r.randrange(2, 60)


def line(r):
    out = ""
    for _ in range(r.randrange(1, 12)):
        out += sentence(r) + (" " if r.random() < 0.8 else r.choice(SPACES + [""]))
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bytes", type=int, default=5_000_000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--lines", action="store_true")
    a = p.parse_args()
    r = random.Random(a.seed)
    done = 0
    while done < a.bytes:
        text = line(r)
        done += len(text.encode())
        sys.stdout.buffer.write((json.dumps(text) if a.lines else text).encode() + b"\n")


if __name__ == "__main__":
    main()
