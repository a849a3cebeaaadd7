"""Text analysis, from text to search terms. Both keyword engines index the same terms."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

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
# Frequent function words that an index may leave out, as the analysis produces them: lower case, no yo.
_ENGLISH = """
a an the and or but nor so if then than as at by for from in into of off on onto out over to under up upon
with without about above after again against before below between down during through until while am is are
was were be been being do does did doing have has had having can could may might must shall should will would
i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
herself it its itself they them their theirs themselves this that these those there here what which who whom
whose when where why how all any both each few more most other some such no not only own same too very just
also s t d ll m re ve
"""
_RUSSIAN = """
и а но да или либо ни не нет же ли бы б ведь вот уж уже еще лишь только даже как так что чтобы чтоб если когда
пока хотя потому поэтому то тоже также зато однако в во на с со к ко у о об обо от ото до по за из изо над под
подо при про без для через между перед после около среди ради вместо кроме я меня мне мной мною ты тебя тебе
тобой он его ему им ним него нем она ее ей ею нее ней оно мы нас нам нами вы вас вам вами они их ими них ними
себя себе собой мой моя мое мои твой твоя твое твои свой своя свое свои своего своей своих своим наш наша наше
наши ваш ваша ваше ваши этот эта это эти этого этой этих этом этим этому тот та те того той тех том тем тому
такой такая такое такие кто кого кому кем ком чего чему чем чей который которая которое которые которого
которой которых котором где куда откуда почему зачем сколько какой какая какое какие каков весь вся все всего
всей всех всем всеми сам сама само сами самый быть был была было были есть будет будут буду будем мочь может
могут можно нельзя надо там тут здесь сейчас теперь тогда потом опять снова всегда иногда очень более менее
больше совсем почти
"""
STOP_WORDS = {"en": frozenset(_ENGLISH.split()), "ru": frozenset(_RUSSIAN.split())}
# Incremented whenever the analysis of a text changes, so that indexes on disk are rebuilt.
VERSION = 3
# Longer "words" are usually encoded data and are not indexed.
MAX_TOKEN_BYTES = 256

Analyzer = Callable[[str], list[str]]

# Letters of scripts that are written without spaces, or with particles attached to the word.
CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f]+")
# The comma comes first, so that the regex engine can skip from comma to comma.
THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")
HYPHENS = re.compile("[-\u2010\u2011]")
# Anchored to the first letter of a word: otherwise matching takes quadratic time in the length of a word.
_COMPOUND = re.compile(r"(?<![^\W\d_])[^\W\d_]+(?:[-\u2010\u2011][^\W\d_]+)+")
# Few words make up most of any text, so their terms are cached; caching all rare words would only cost memory.
_MAX_CACHED_WORDS = 200_000


class _Separators(dict[int, int | str]):
    """A table for `str.translate`: letters, digits, combining marks and hyphens stay, all else becomes a space."""

    def __missing__(self, code: int) -> int | str:
        letter = chr(code)
        self[code] = kept = code if unicodedata.category(letter)[0] in "LNM" or HYPHENS.match(letter) else " "
        return kept


SEPARATORS = _Separators()
# The same for ASCII, with lower-casing, as a table for `bytes.translate`.
_ASCII = bytes(ord(chr(code).lower()) if SEPARATORS[code] == code else ord(" ") for code in range(128)) + bytes(128)


class _Terms(dict[str, str]):
    """A cache from words to their terms, joined by spaces; a word is analysed at its first occurrence."""

    def __init__(self, language: str, ignored: frozenset[str]) -> None:
        super().__init__()
        self._ignored = ignored
        self._stem = _stemmer(language)

    def __missing__(self, word: str) -> str:
        parts = [word]
        if HYPHENS.search(word):
            text = _COMPOUND.sub(lambda match: f"{match.group()} {HYPHENS.sub('', match.group())}", word)
            parts = HYPHENS.sub(" ", text).split()
        kept = [part for part in parts if part not in self._ignored and len(part.encode()) < MAX_TOKEN_BYTES]
        terms = " ".join(self._stem(kept))
        if len(word) < MAX_TOKEN_BYTES:
            if len(self) >= _MAX_CACHED_WORDS:
                self.clear()
            self[word] = terms
        return terms


def make_analyzer(language: str, *, stop_words: bool) -> Analyzer:
    """
    Return a function from text to terms: Unicode normalisation, word splitting, lower case, stop words, Snowball stems.

    Text is normalised to NFKC. A hyphenated compound gives its parts and the compound without hyphens. Chinese, Japanese
    and Korean are cut into character bigrams. In English a comma between thousands is not a separator; in Russian stress
    marks are removed and yo is replaced by e, as in most printed text.

    :param language: A key of `STEMMERS`, or `simple` for no stemming.
    :param stop_words: Whether to remove stop words; only for the languages of `STOP_WORDS`.
    """
    return _analyzer(language, STOP_WORDS[language] if stop_words else frozenset())


def _analyzer(language: str, ignored: frozenset[str]) -> Analyzer:
    terms = _Terms(language, ignored)

    def analyze(text: str) -> list[str]:
        return " ".join(map(terms.__getitem__, _words(text, language))).split()

    return analyze


@dataclass(frozen=True)
class Analysis:
    """
    How an index gets its terms.

    :param text: From the text of a document.
    :param query: From a query.
    """

    text: Analyzer
    query: Analyzer


def make_analysis(language: str, *, stop_words: bool) -> Analysis:
    """
    Return the analysis of an index.

    English and Russian function words of a query do not count in an index of either language, unless it has no other words:
    in a question put in a whole sentence they would outweigh what is asked about, because answers seldom say "how do I".

    :param language: As in `make_analyzer`.
    :param stop_words: Whether the index leaves function words out, too.
    """
    analyze = make_analyzer(language, stop_words=stop_words)
    if stop_words or language not in STOP_WORDS:
        return Analysis(analyze, analyze)
    without = _analyzer(language, frozenset().union(*STOP_WORDS.values()))
    return Analysis(analyze, lambda text: without(text) or analyze(text))


def _stemmer(language: str) -> Callable[[list[str]], list[str]]:
    if language == SIMPLE:
        return list
    import Stemmer

    return Stemmer.Stemmer(STEMMERS[language]).stemWords  # type: ignore[no-any-return]


def _words(text: str, language: str) -> list[str]:
    """Return the words between separators, with their hyphens."""
    is_ascii = text.isascii()
    if not is_ascii:
        text = unicodedata.normalize("NFKC", text).replace("\u00ad", "")  # a soft hyphen is inside a word
        if language == "ru":
            text = text.replace("\u0301", "").replace("\u0300", "").replace("ё", "е").replace("Ё", "Е")
        text = CJK.sub(lambda match: f" {_pairs(match.group())} ", text)
    if language in ("en", SIMPLE):
        text = THOUSANDS.sub("", text)
    if is_ascii:
        return text.encode().translate(_ASCII).decode().split()
    return text.lower().translate(SEPARATORS).split()


def _pairs(letters: str) -> str:
    return " ".join(letters[i : i + 2] for i in range(max(len(letters) - 1, 1)))
