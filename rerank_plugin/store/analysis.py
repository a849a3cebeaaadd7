"""From text to search terms. Both keyword engines index these, so that they mean the same by a word."""

import re
import unicodedata
from collections.abc import Callable

from rerank_plugin.store.stop_words import ENGLISH, RUSSIAN

SIMPLE = "simple"
# The languages with a Snowball stemmer, by ISO 639-1.
STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
STOP_WORDS = {"en": ENGLISH, "ru": RUSSIAN}
# Raised whenever the same text gives other terms than before: indexes on disk are then built again.
VERSION = 3
# Longer "words" are encoded data, which nobody searches for.
MAX_TOKEN_BYTES = 256

Analyzer = Callable[[str], list[str]]

# Letters of scripts that are written without spaces, or with particles that cling to the word.
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f]+")
# It starts at a word's first letter only: anywhere in it, a word of 100,000 letters would be read 100,000 times.
_COMPOUND = re.compile(r"(?<![^\W\d_])[^\W\d_]+(?:[-\u2010\u2011][^\W\d_]+)+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_HYPHENS = re.compile("[-\u2010\u2011]")


class _Separators(dict[int, int | str]):
    """For `str.translate`: letters, digits and the marks on them stay, everything else becomes a space."""

    def __missing__(self, code: int) -> int | str:
        self[code] = kept = code if unicodedata.category(chr(code))[0] in "LNM" else " "
        return kept


_SEPARATORS = _Separators()


def make_analyzer(language: str, *, stop_words: bool) -> Analyzer:
    """
    Return a function from text to terms: Unicode in one form, words, lower case, stop words, Snowball stems.

    Compatibility forms are one letter (NFKC). A compound with hyphens is found by its parts and in one word. Chinese,
    Japanese and Korean are cut into pairs of letters. In English a comma between thousands is no separator; in Russian
    stress marks do not count, and yo is e, as it is mostly printed.

    :param language: A key of `STEMMERS`, or `simple` for no stemming.
    :param stop_words: Whether to leave stop words out; only for the languages of `STOP_WORDS`.
    """
    ignored = STOP_WORDS[language] if stop_words else frozenset[str]()
    stem = _stemmer(language)

    def analyze(text: str) -> list[str]:
        words = _words(text, language)
        if ignored:
            words = [word for word in words if word not in ignored]
        return stem([word for word in words if len(word) <= MAX_TOKEN_BYTES // 4 or len(word.encode()) < MAX_TOKEN_BYTES])

    return analyze


def _stemmer(language: str) -> Callable[[list[str]], list[str]]:
    if language == SIMPLE:
        return list
    import Stemmer

    return Stemmer.Stemmer(STEMMERS[language]).stemWords  # type: ignore[no-any-return]


def _words(text: str, language: str) -> list[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\u00ad", "")  # a soft hyphen stands inside a word
        if language == "ru":
            text = text.replace("\u0301", "").replace("\u0300", "").replace("ё", "е").replace("Ё", "Е")
        text = _CJK.sub(lambda found: f" {_pairs(found.group())} ", text)
    if language in ("en", SIMPLE):
        text = _THOUSANDS.sub("", text)
    text = _COMPOUND.sub(lambda found: f"{found.group()} {_HYPHENS.sub('', found.group())}", text)
    return text.lower().translate(_SEPARATORS).split()


def _pairs(letters: str) -> str:
    return " ".join(letters[i : i + 2] for i in range(max(len(letters) - 1, 1)))
