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
JUDGED, HOW_TO = "judged", "how-to"
# What people ask or write for readers, unlike sentences and phrases that are torn out of their passage.
NATURAL = (HEADING, QUESTION, HOW_TO, WRITTEN, LOGGED)
ASKED = (QUESTION, HOW_TO, WRITTEN, JUDGED)
# What the rest of the passage answers. The rest of a sentence's passage need not say what the sentence said.
ANSWERED = (HEADING, *ASKED)
# Where a sentence begins with what it is for, the rest of it tells how; scientists who say what they did for it do not.
PURPOSES = (
    (
        re.compile(
            r"(?:(?:If|When) you (?:want|need|wish) to|(?:In order )?[Tt]o) (?P<purpose>[a-z]+ [^,;:.?]{8,90}), (?!we )"
        ),
        "how do I",
    ),
    (re.compile(r"(?:Для того,? чтобы|Чтобы) (?P<purpose>[а-яё]+ть(?:ся)? [^,;:.?]{8,90}), "), "как"),
)
SECTION_SEPARATOR = " > "
WORDS = re.compile(r"\w[\w'’-]*")
LETTERS = re.compile(r"[^\W\d_]")
NUMBERING = re.compile(r"^[\dIVXivx]+(\.[\dIVXivx]+)*[.)]?\s+|¶\s*$")
SENTENCE_WORDS, HEADING_WORDS, PHRASE_WORDS = (6, 30), (2, 14), (2, 6)
# A heading that many passages have ("Examples", "See also") asks for none of them in particular.
MOST_PASSAGES_OF_A_HEADING = 4
SENTENCES, TAKEN_OUT = 0.4, 0.65
FEWEST_WORDS_LEFT = 12


@dataclass(frozen=True)
class PseudoQuery:
    """
    A query that was made from a passage, or asked by people.

    :param text: The query.
    :param kind: How it was made.
    :param source: Id of the passage that it was made from, or that was judged relevant; `None`: it was logged.
    :param removed: The text that the passage loses, as the shared words alone would otherwise give the answer.
    :param is_passage: Whether the query is all that its passage says: the passage cannot be ranked for it then.
    """

    text: str
    kind: str
    source: str | None = None
    removed: str | None = None
    is_passage: bool = False

    def shown(self, passage: "Document", text: str) -> str:
        """
        Return what is ranked of a passage.

        For a heading, no passage has its own: it would give the query's passage away, and the others would be told from that
        one by having theirs.

        :param passage: The passage.
        :param text: The passage as the ranker reads it.
        """
        if self.kind == HEADING:
            return body_of(passage)
        return text.replace(self.removed, " ").strip() if self.removed and passage.id == self.source else text


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
    Yield pseudo-queries for each passage: its heading, a question in it and what it tells how to do, if it has them, and a
    sentence or a phrase of it.

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
            _how_to(passage, sentences, rng),
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


def body_of(passage: "Document") -> str:
    """Return the text of a passage without its heading."""
    content, heading = passage.content or "", heading_of(passage)
    first, _, rest = content.partition("\n")
    return rest.strip() if heading and heading in first and len(first) <= 2 * len(heading) else content


def _heading(passage: "Document", headings: Counter[str]) -> PseudoQuery | None:
    heading = heading_of(passage)
    if not _fits(heading, HEADING_WORDS) or headings[heading] > MOST_PASSAGES_OF_A_HEADING:
        return None
    return PseudoQuery(heading, HEADING, passage.id) if _words(body_of(passage)) >= FEWEST_WORDS_LEFT else None


def _question(passage: "Document", sentences: Sequence[str], rng: random.Random) -> PseudoQuery | None:
    questions = [sentence for sentence in sentences if sentence.endswith("?")]
    if not questions:
        return None
    return _verbatim(passage, rng.choice(questions), QUESTION)


def _how_to(passage: "Document", sentences: Sequence[str], rng: random.Random) -> PseudoQuery | None:
    found = [(asked, match) for sentence in sentences for form, asked in PURPOSES if (match := form.match(sentence))]
    if not found:
        return None
    asked, match = rng.choice(found)
    clause = _removable(passage, match[0])
    return PseudoQuery(f"{asked} {match['purpose']}?", HOW_TO, passage.id, clause) if clause else None


def _excerpt(
    passage: "Document", sentences: Sequence[str], vocabulary: Vocabulary, rng: random.Random
) -> PseudoQuery | None:
    statements = [sentence for sentence in sentences if not sentence.endswith("?")]
    if not statements:
        return None
    sentence = rng.choice(statements)
    if rng.random() < SENTENCES:
        return _verbatim(passage, sentence, SENTENCE)
    removed = _removable(passage, sentence) if rng.random() < TAKEN_OUT else None
    words = vocabulary.key_words(sentence, rng.randint(*PHRASE_WORDS))
    return PseudoQuery(" ".join(words), PHRASE, passage.id, removed) if len(words) >= PHRASE_WORDS[0] else None


def _verbatim(passage: "Document", sentence: str, kind: str) -> PseudoQuery:
    removed = _removable(passage, sentence)
    return PseudoQuery(sentence, kind, passage.id, removed, is_passage=removed is None)


def _removable(passage: "Document", sentence: str) -> str | None:
    """Return the sentence if it stands in the passage as it is, and enough is left without it."""
    content = passage.content or ""
    left = _words(content) - _words(sentence)
    return sentence if sentence in content and left >= FEWEST_WORDS_LEFT else None


def _fits(text: str, limits: tuple[int, int]) -> bool:
    return limits[0] <= _words(text) <= limits[1] and bool(LETTERS.search(text))


def _words(text: str) -> int:
    return len(WORDS.findall(text))
