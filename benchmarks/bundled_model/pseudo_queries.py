"""Pseudo queries for passages without judged queries, generated from the words of the passage."""

import random
import re

STOP_WORDS = {
    "en": frozenset(
        "a an the of in on at to for from by with and or not is are was were be been being it its this that these those as his her "
        "their they he she we you i which who whom what when where how why do does did has have had will would can could may might "
        "must should than then there here also into over under about after before between during such no nor so if but more most "
        "other some any all each both own same very s t".split()
    ),
    "ru": frozenset(
        "и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по только ее мне было вот от меня еще нет о из "
        "ему теперь когда даже ну вдруг ли если уже или ни быть был него до вас нибудь опять уж вам ведь там потом себя ничего ей "
        "может они тут где есть надо ней для мы тебя их чем была сам чтоб без будто чего раз тоже себе под будет ж тогда кто этот "
        "того потому этого какой совсем ним здесь этом один почти мой тем чтобы нее были куда зачем всех можно при об хоть после "
        "над больше тот через эти нас про них какая много разве три эту моя впрочем хорошо свою этой перед иногда лучше чуть том "
        "нельзя такой им более всегда конечно это".split()
    ),
}
LEADS = {
    "en": (
        "what is|how does|why|how to|what are|who|when|where|what causes|is|can|which|difference between|how many|meaning of"
    ).split("|"),
    "ru": (
        "что такое|как|почему|как сделать|какие|кто|когда|где|отчего|можно ли|правда ли|чем отличается|сколько|что значит"
    ).split("|"),
}
KINDS = {"sentence": 3, "keywords": 2, "span": 1.5, "question": 1.5, "title": 0.7, "title words": 1.3, "wide": 1}
TAKEN_OUT = 0.65
FEWEST_WORDS_LEFT = 15
WIDE_CHARACTERS = 1200


def sentences(text: str, *, shortest: int = 6, longest: int = 45) -> list[str]:
    """Return the sentences of a text that have `shortest` to `longest` words."""
    candidates = (sentence.strip() for sentence in re.split(r"(?<=[.!?…])\s+|\n+", text))
    return [sentence for sentence in candidates if shortest <= len(sentence.split()) <= longest]


def keywords(text: str, rng: random.Random, lang: str, *, fewest: int, most: int) -> str | None:
    """Return a few content words of a text, in their order; `None` if it has too few."""
    words = [word for word in re.findall(r"\w[\w'-]*", text.lower()) if word not in STOP_WORDS[lang]]
    if len(words) < max(2, fewest):
        return None
    count = min(rng.randint(fewest, most), len(words))
    return " ".join(words[i] for i in sorted(rng.sample(range(len(words)), count)))


def pseudo_query(title: str, text: str, rng: random.Random, lang: str) -> tuple[str, str | None] | None:
    """
    Generate a query from a passage.

    :returns: The query, and in 65 % of the cases the text of the passage without the source sentence, as otherwise word overlap
        alone would give the answer. `None` if no query could be generated.
    """
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "title":
        return (title, None) if len(title.split()) > 1 else None
    if kind == "wide":  # words from the whole passage, so that no single sentence has them all
        words = keywords(text[:WIDE_CHARACTERS], rng, lang, fewest=3, most=7)
        return (words, None) if words else None
    choices = sentences(text)
    if not choices:
        return None
    sentence = rng.choice(choices)
    rest = text.replace(sentence, " ").strip()
    query = _of_sentence(kind, sentence, title, rng, lang)
    keep = len(rest.split()) < FEWEST_WORDS_LEFT or rng.random() >= TAKEN_OUT
    return (query, None if keep else rest) if query else None


def _of_sentence(kind: str, sentence: str, title: str, rng: random.Random, lang: str) -> str | None:
    if kind == "sentence":
        return sentence
    if kind == "keywords":
        return keywords(sentence, rng, lang, fewest=2, most=6)
    if kind == "span":
        words = sentence.rstrip(".!?").lower().split()
        count = min(rng.randint(4, 10), len(words))
        start = rng.randrange(len(words) - count + 1)
        return " ".join(words[start : start + count])
    if kind == "title words":
        words = keywords(sentence, rng, lang, fewest=1, most=3)
        return f"{title.lower()} {words}".strip() if words else None
    subject = keywords(sentence, rng, lang, fewest=2, most=5)
    return f"{rng.choice(LEADS[lang])} {subject}{'?' if rng.random() < 0.4 else ''}" if subject else None
