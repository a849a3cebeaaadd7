"""Values that are wrong in some way, or only unusual."""

import random
from pathlib import Path
from typing import Any

from haystack import Document

WORDS = [
    "fox",
    "red",
    "paris",
    "sea",
    "Coffee",
    "naïve",
    "чайник",
    "東京",
    "foxes",
    "a",
    "-sea",
    "+red",
    '"red fox"',
    "it's",
]
FIELDS = [
    "meta.a",
    "a",
    "meta.b.c",
    "meta.list",
    "id",
    "content",
    "meta.date",
    "meta.missing",
    "meta.",
    "",
    "meta.a b",
    "meta.'",
]
OPERATORS = ["==", "!=", ">", ">=", "<", "<=", "in", "not in", "AND", "contains", "", None, 5]


def text(chance: random.Random) -> str:
    """Return a text: mostly words, sometimes input on which parsers are known to fail."""
    kind = chance.randrange(10)
    if kind < 6:
        return " ".join(chance.choices(WORDS, k=chance.randint(0, 12)))
    if kind == 6:
        return "".join(
            chr(chance.choice([0, 1, 9, 10, 13, 27, 127, 133, 0x2028, 0xFEFF, 0x1F600, 0x10FFFF])) for _ in range(5)
        )
    if kind == 7:
        return chance.choice(
            ["\ud800", "x\udfff y", "'; DROP TABLE documents; --", "%s%n{}", "\\", "*", "AND OR NOT", "title:fox^3"]
        )
    if kind == 8:
        return chance.choice([" ", "\n\t", "ab" * 5_000, "é" * 3_000, "fox " * 2_000, "[CLS] [SEP] [PAD]", "<|endoftext|>"])
    return "".join(chr(chance.randrange(32, 0x3000)) for _ in range(chance.randint(1, 30)))


def odd(chance: random.Random) -> Any:
    """Return a value of arbitrary type."""
    return chance.choice(
        [
            None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, -(2**70), 0.0, -0.0, 0.5, 1.5, 1e308, float("nan"), float("inf"),
            -float("inf"), "", "5", "x", "\ud800", b"bytes", [], [1], ["a"], [None], (), {}, {"a": 1}, set(), object(),
            Path("x"), Document(content="x"), text(chance), [text(chance)], complex(1, 2), "2024-05-06", "none", "auto",
        ]
    )  # fmt: skip


def json_value(chance: random.Random, depth: int = 0) -> Any:
    """Return a value that JSON can represent."""
    kind = chance.randrange(8 if depth < 3 else 6)
    if kind < 2:
        return text(chance)
    if kind == 2:
        return chance.choice([0, 1, -1, 7, 2**53 + 1, 2**63 - 1, 2**64, -(2**63)])
    if kind == 3:
        return chance.choice([0.0, -0.0, 0.1 + 0.2, 1e300, 5e-324, 2.0])
    if kind == 4:
        return chance.choice([None, True, False])
    if kind == 5:
        return chance.choice(["2024-05-06", "2024-05-06T24:00", "2024-05-06T10:00:00+02:00", "1", "true", "null", "[1,2]"])
    if kind == 6:
        return [json_value(chance, depth + 1) for _ in range(chance.randint(0, 3))]
    return {
        chance.choice(["a", "b", "c", "", "x.y", "é", "'"]): json_value(chance, depth + 1)
        for _ in range(chance.randint(0, 3))
    }


def meta(chance: random.Random) -> dict[str, Any]:
    """Return metadata under the names that the filters ask for."""
    names = chance.sample(["a", "b", "list", "date", "a b", "title"], chance.randint(0, 4))
    return {name: json_value(chance) for name in names}


def filters(chance: random.Random, depth: int = 0) -> Any:
    """Return filters: mostly well-formed ones."""
    kind = chance.randrange(12)
    if kind == 0:
        return odd(chance)
    if kind < 4 and depth < 4:
        operator = chance.choice(["AND", "OR", "NOT", "and", odd(chance)] if kind == 1 else ["AND", "OR", "NOT"])
        return {"operator": operator, "conditions": [filters(chance, depth + 1) for _ in range(chance.randint(0, 3))]}
    operator = chance.choice(OPERATORS if kind == 4 else OPERATORS[:8])
    value = chance.choice([json_value(chance), odd(chance)] if kind == 5 else [json_value(chance)])
    if operator in ("in", "not in") and kind != 6:
        value = [json_value(chance) for _ in range(chance.randint(0, 5))]
    condition = {"field": chance.choice(FIELDS[:8] if kind != 7 else FIELDS), "operator": operator, "value": value}
    if kind == 8:
        del condition[chance.choice(["field", "operator", "value"])]
    return condition


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Return bytes with some changes; none in a third of the cases."""
    changed = bytearray(data)
    for _ in range(chance.choice([0, 0, 1, 1, 2, 5])):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[at : at + chance.randint(1, 30)]
        elif kind == 2:
            changed[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 4)))
        elif kind == 3:
            changed[at:at] = chance.choice(
                [b"\n", b"\r", b"\0", b"\t", b'"', b"{", b"]", b"\xef\xbb\xbf", b"\xff\xfe", b"1e999"]
            )
        elif kind == 4:
            changed[at:at] = changed[: chance.randint(0, len(changed))]
        else:
            del changed[at:]
    return bytes(changed)
