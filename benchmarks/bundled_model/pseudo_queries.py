"""Queries made out of sentences, for passages that nobody has asked about."""

import random
import re

STOP_WORDS = frozenset(
    "a an the of in on at to for from by with and or not is are was were be been being it its this that these those as his her "
    "their they he she we you i which who whom what when where how why do does did has have had will would can could may might "
    "must should than then there here also into over under about after before between during such no nor so if but more most "
    "other some any all each both own same very s t".split()
)
LEADS = (
    "what is|how does|why|how to|what are|who|when|where|what causes|is|can|which|tell me about|difference between|how many|meaning of"
).split("|")
FEWEST_WORDS = 4


def sentences(text: str, *, shortest: int = 6, longest: int = 45) -> list[str]:
    """The sentences of a text that have `shortest` to `longest` words."""
    found = (sentence.strip() for sentence in re.split(r"(?<=[.!?])\s+", text))
    return [sentence for sentence in found if shortest <= len(sentence.split()) <= longest]


def keywords(sentence: str, draw: random.Random, *, fewest: int, most: int) -> str | None:
    """A few content words of a sentence, in their order; None where it has fewer than four."""
    words = [word.lower() for word in re.findall(r"[A-Za-z0-9][\w'-]*", sentence) if word.lower() not in STOP_WORDS]
    if len(words) < FEWEST_WORDS:
        return None
    count = min(draw.randint(fewest, most), len(words))
    return " ".join(words[i] for i in sorted(draw.sample(range(len(words)), count)))


def pseudo_query(sentence: str, draw: random.Random) -> str | None:
    """Something that a person might type: the sentence, keywords, a span of it, or a question about keywords."""
    kind = draw.choice(["sentence", "keywords", "span", "question"])
    if kind == "sentence":
        return sentence
    if kind == "keywords":
        return keywords(sentence, draw, fewest=3, most=6)
    if kind == "span":
        words = sentence.rstrip(".!?").lower().split()
        count = min(draw.randint(5, 10), len(words))
        start = draw.randrange(len(words) - count + 1)
        return " ".join(words[start : start + count])
    subject = keywords(sentence, draw, fewest=2, most=5)
    return f"{draw.choice(LEADS)} {subject}{'?' if draw.random() < 0.4 else ''}" if subject else None
