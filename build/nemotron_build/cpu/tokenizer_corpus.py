# ruff: noqa: RUF001 - look-alikes of Latin letters are what is tested here
"""Some four hundred strings on which two tokenizers must agree, in many scripts and shapes."""

from __future__ import annotations

_WORDS = (
    "Hello world",
    "naïve façade, Ærøskøbing, Łódź, Çeşme, Việt Nam",
    "e\u0301 n\u0303 o\u0302\u0323 a\u0308\u0304",
    "สวัสดีครับ ผมชื่อสมชาย",
    "กำลังทดสอบ น้ำ ที่นี่",
    "नमस्ते दुनिया, क्षत्रिय",
    "আমি বাংলায় কথা বলি",
    "வணக்கம் உலகம்",
    "كيف حالك؟ السَّلَامُ عَلَيْكُمْ",
    "שלום עולם, בְּרֵאשִׁית",
    "中文测试,繁體字。",
    "日本語のテスト、カタカナとひらがな",
    "안녕하세요 세계",
    "Привет, мир! Ёлка",
    "Γειά σου Κόσμε, ἀρχή",
    "Բարեւ աշխարհ",
    "გამარჯობა მსოფლიო",
    "ሰላም ዓለም",
    "မင်္ဂလာပါ",
    "ជំរាបសួរ",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇹🇭🇺🇸",
    "👍🏽👋🏿 ❤️ 1️⃣ ☕",
    "1234567890",
    "3.14159 1,000,000 0x7fFF 1e-9",
    "½ ² ३ ٤ ３ Ⅷ",
    "don't we'll I'M they've HE'D",
    "def f(x):\n    return {'a': [x, *y]}  # ok",
    'SELECT * FROM "t" WHERE a <> b;',
    "https://example.org/a?b=c&d=%20#e",
    '{"name": "get_weather", "arguments": {"city": "Bangkok"}}',
    "<think>\n2 + 2 = 4\n</think>\n\n",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>",
    "<|im_start> <im_end|> <|im_start |> |im_end|>",
    "<|im_end|><|im_end|>",
    "$€¥฿ ∑∫√∞ ≠≤ → ⇒",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𓀀 𠜎",
    "«quotes» „low“ ‘single’ … — –",
    "Pneumonoultramicroscopicsilicovolcanoconiosis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u200b\u200d\u2060\ufeff\u00ad",
    "\u202eright to left\u202c",
    "\u0000\u0001\u001f\u007f",
    "\ufffd\uffff\U0010ffff",
)
_SPACES = (" ", "  ", "   ", "\t", "\n", "\n\n\n", "\r\n", "\r\n\r\n", " \n ", "\u00a0", "\u3000", "\u2028", "\x0b\x0c")


def corpus() -> list[str]:
    """The strings: each word alone, each in all kinds of white space, and each beside others."""
    strings = list(_WORDS) + list(_SPACES)
    for index, word in enumerate(_WORDS):
        space, other = _SPACES[index % len(_SPACES)], _SPACES[(index * 5 + 3) % len(_SPACES)]
        following = _WORDS[(index + 1) % len(_WORDS)]
        distant = _WORDS[(index * 7 + 3) % len(_WORDS)]
        strings += [
            space + word,
            word + space,
            other + word + other,
            word + following,
            word + space + distant,
            f"{word}{index}{distant}",
            f"{distant}'{word}'s",
            f"{word}.{word}!{word}",
        ]
    return strings
