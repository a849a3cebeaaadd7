"""Queries without judgements: what the passages themselves ask or announce, and their own words."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from rerank_plugin.sentences import split_sentences

if TYPE_CHECKING:
    from haystack import Document

HEADING, QUESTION, SENTENCE, PHRASE, WRITTEN, LOGGED = "heading", "question", "sentence", "key phrase", "written", "logged"
JUDGED = "judged"
# Written by people for readers, unlike sentences and phrases that are torn out of their passage.
NATURAL = (HEADING, QUESTION, WRITTEN, LOGGED)
SECTION_SEPARATOR = " > "
WORDS = re.compile(r"\w[\w'’-]*")
LETTERS = re.compile(r"[^\W\d_]")
NUMBERING = re.compile(r"^[\dIVXivx]+(\.[\dIVXivx]+)*[.)]?\s+|¶\s*$")
SENTENCE_WORDS, HEADING_WORDS, PHRASE_WORDS = (6, 30), (2, 14), (2, 6)
# A heading that many passages have ("Examples", "See also") asks for none of them in particular.
MOST_PASSAGES_OF_A_HEADING = 4
TAKEN_OUT = 0.65
FEWEST_WORDS_LEFT = 12


@dataclass(frozen=True)
class PseudoQuery:
    """
    A query that was made from a passage, or asked by people.

    :param text: The query.
    :param kind: How it was made.
    :param source: Id of the passage that it was made from, or that was judged relevant; `None`: it was logged.
    :param removed: The text that the passage loses, as the shared words alone would otherwise give the answer.
    """

    text: str
    kind: str
    source: str | None = None
    removed: str | None = None

    def without_removed(self, passage: str) -> str:
        """Return the passage without the removed text."""
        return passage if self.removed is None else passage.replace(self.removed, " ").strip()


class Vocabulary:
    """
    How rare words are in a corpus.

    :param texts: Its passages.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._frequency: Counter[str] = Counter()
        self._passages = 0
        for text in texts:
            self._passages += 1
            self._frequency.update({word.lower() for word in WORDS.findall(text)})

    def rarity(self, word: str) -> float:
        """Return the inverse document frequency of a word."""
        return log((1 + self._passages) / (0.5 + self._frequency[word.lower()]))

    def key_words(self, text: str, count: int) -> list[str]:
        """Return the rarest words of a text that other passages have too, in their order."""
        words = list(dict.fromkeys(word.lower() for word in WORDS.findall(text) if LETTERS.search(word) and len(word) > 2))
        shared = [word for word in words if self._frequency[word] > 1] or words
        chosen = set(sorted(shared, key=lambda word: (-self.rarity(word), word))[:count])
        return [word for word in words if word in chosen]


def generate(passages: "Sequence[Document]", *, seed: int) -> Iterator[PseudoQuery]:
    """
    Yield pseudo-queries for each passage: its heading or a question in it if there is one, and a sentence or a phrase of it.

    :param passages: The passages.
    :param seed: Seed of the choices.
    :returns: The queries, passage by passage; no text occurs twice.
    """
    vocabulary = Vocabulary(passage.content or "" for passage in passages)
    headings = Counter(heading_of(passage) for passage in passages)
    seen: set[str] = set()
    for passage in passages:
        rng = random.Random(f"{seed} {passage.id}")  # noqa: S311 - reproducible sampling, not secrets
        sentences = [text for text in split_sentences(passage.content or "") if _fits(text, SENTENCE_WORDS)]
        queries = [
            _heading(passage, headings),
            _question(passage, sentences, rng),
            _excerpt(passage, sentences, vocabulary, rng),
        ]
        for query in queries:
            if query is not None and (key := query.text.casefold()) not in seen:
                seen.add(key)
                yield query


def heading_of(passage: "Document") -> str:
    """Return the innermost heading above a passage, or its title; empty if it has neither."""
    section, title = passage.meta.get("section"), passage.meta.get("title")
    heading = section.split(SECTION_SEPARATOR)[-1] if isinstance(section, str) else title if isinstance(title, str) else ""
    return NUMBERING.sub("", heading.strip()).strip()


def _heading(passage: "Document", headings: Counter[str]) -> PseudoQuery | None:
    heading = heading_of(passage)
    if not _fits(heading, HEADING_WORDS) or headings[heading] > MOST_PASSAGES_OF_A_HEADING:
        return None
    first, _, rest = (passage.content or "").partition("\n")
    repeats = heading in first and len(WORDS.findall(rest)) >= FEWEST_WORDS_LEFT
    return PseudoQuery(heading, HEADING, passage.id, first if repeats else None)


def _question(passage: "Document", sentences: Sequence[str], rng: random.Random) -> PseudoQuery | None:
    questions = [sentence for sentence in sentences if sentence.endswith("?")]
    if not questions:
        return None
    question = rng.choice(questions)
    return PseudoQuery(question, QUESTION, passage.id, _removable(passage, question))


def _excerpt(
    passage: "Document", sentences: Sequence[str], vocabulary: Vocabulary, rng: random.Random
) -> PseudoQuery | None:
    statements = [sentence for sentence in sentences if not sentence.endswith("?")]
    if not statements:
        return None
    sentence = rng.choice(statements)
    removed = _removable(passage, sentence) if rng.random() < TAKEN_OUT else None
    if rng.random() < 0.4:
        return PseudoQuery(sentence, SENTENCE, passage.id, removed)
    words = vocabulary.key_words(sentence, rng.randint(*PHRASE_WORDS))
    return PseudoQuery(" ".join(words), PHRASE, passage.id, removed) if len(words) >= PHRASE_WORDS[0] else None


def _removable(passage: "Document", sentence: str) -> str | None:
    """Return the sentence if it stands in the passage as it is, and enough is left without it."""
    content = passage.content or ""
    left = len(WORDS.findall(content)) - len(WORDS.findall(sentence))
    return sentence if sentence in content and left >= FEWEST_WORDS_LEFT else None


def _fits(text: str, limits: tuple[int, int]) -> bool:
    return limits[0] <= len(WORDS.findall(text)) <= limits[1] and bool(LETTERS.search(text))
