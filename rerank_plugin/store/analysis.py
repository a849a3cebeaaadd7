"""From text to search terms. Both keyword engines start here, so that they mean the same by a word."""

import re
import unicodedata
from collections.abc import Callable

from rerank_plugin.store.stop_words import ENGLISH, RUSSIAN

STEMMERS = {"en": "english", "ru": "russian"}
STOP_WORDS = {"en": ENGLISH, "ru": RUSSIAN}
# Longer "words" are encoded data, which nobody searches for.
MAX_TOKEN_BYTES = 256

_WORD = re.compile(r"[^\W_]+")


def normalise(text: str, language: str) -> str:
    """
    Return a text with one spelling for what readers take for the same letter.

    In Russian, dictionaries and encyclopedias mark the stress with an accent, and yo is mostly printed as e.

    :param text: A passage or a query.
    :param language: `en` or `ru`.
    """
    text = unicodedata.normalize("NFC", text)
    if language == "ru":
        text = text.replace("\u0301", "").replace("\u0300", "").replace("ё", "е").replace("Ё", "Е")
    return text


def make_analyzer(language: str, *, stop_words: bool) -> Callable[[str], list[str]]:
    """
    Return a function from text to terms in plain Python: words, lower case, stop words, Snowball stems.

    :param language: `en` or `ru`.
    :param stop_words: Whether to leave stop words out.
    """
    import Stemmer

    stem = Stemmer.Stemmer(STEMMERS[language]).stemWords
    ignored = STOP_WORDS[language] if stop_words else frozenset()

    def analyze(text: str) -> list[str]:
        words = _WORD.findall(normalise(text, language).lower())
        kept = (word for word in words if word not in ignored and len(word.encode()) < MAX_TOKEN_BYTES)
        return list(stem(list(kept)))

    return analyze
