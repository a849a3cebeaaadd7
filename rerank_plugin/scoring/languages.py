"""Whether a model reads the script that queries and passages are written in."""

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from rerank_plugin.errors import RerankError
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, resolve_model

logger = logging.getLogger(__name__)

MULTILINGUAL = "multilingual"
# Scripts, by the first word of the names of their characters, and the languages that are written in them.
SCRIPTS = {
    "ARABIC": {"ar", "fa", "ps", "ug", "ur"},
    "ARMENIAN": {"hy"},
    "BENGALI": {"as", "bn"},
    "CJK": {"ja", "yue", "zh"},
    "CYRILLIC": {"be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "uk"},
    "DEVANAGARI": {"hi", "mr", "ne", "sa"},
    "GEORGIAN": {"ka"},
    "GREEK": {"el"},
    "HANGUL": {"ko"},
    "HEBREW": {"he", "yi"},
    "HIRAGANA": {"ja"},
    "KATAKANA": {"ja"},
    "TAMIL": {"ta"},
    "TELUGU": {"te"},
    "THAI": {"th"},
}
CARD = "README.md"
# How much of the passages is looked at: enough to see their script, without a cost that anybody notices.
_PASSAGES, _CHARACTERS = 8, 60
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)


class LanguageCheck:
    """
    Warns, once for each script, of queries and of passages that the model of a ranker cannot read.

    :param model: A bundled name, a folder, or a Hub id.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._warned: set[tuple[str, str]] = set()

    def check(self, query: str) -> None:
        """
        Log a warning if most letters of a query belong to a script of none of the model's languages.

        Nothing is said about a model whose card does not name its languages.

        :param query: The query.
        """
        self._check(query, "the query is")

    def check_passages(self, passages: Sequence[str]) -> None:
        """
        Log a warning if most letters of the first passages belong to a script of none of the model's languages.

        :param passages: The passages.
        """
        self._check(" ".join(passage[:_CHARACTERS] for passage in passages[:_PASSAGES]), "most passages are")

    def _check(self, text: str, what: str) -> None:
        script = main_script(text)
        if script is None or (script, what) in self._warned or reads(self._languages, script):
            return
        self._warned.add((script, what))
        logger.warning(
            "%s written in %s letters, but model %s reads %s only, so that its order means little: use %s",
            what,
            script.capitalize(),
            self._model,
            ", ".join(sorted(self._languages)),
            f"model {DEFAULT_MODEL}" if reads(declared_languages(DEFAULT_MODEL), script) else "a multilingual model",
        )

    @cached_property
    def _languages(self) -> set[str]:
        return declared_languages(self._model)


def reads(languages: set[str], script: str) -> bool:
    """
    Return whether a model reads a script.

    :param languages: The languages of the model; empty: unknown, so it may.
    :param script: A key of `SCRIPTS`.
    """
    return not languages or MULTILINGUAL in languages or bool(languages & SCRIPTS[script])


def main_script(text: str) -> str | None:
    """
    Return the script of most letters of a text.

    :param text: The text.
    :returns: A key of `SCRIPTS`; `None` for Latin letters, another script, or no letters.
    """
    if text.isascii():
        return None
    names = (unicodedata.name(character, "").partition(" ")[0] for character in text if character.isalpha())
    most = Counter(names).most_common(1)
    return most[0][0] if most and most[0][0] in SCRIPTS else None


def declared_languages(model: str) -> set[str]:
    """
    Return the languages that the card of a model names.

    :param model: A bundled name, a folder, or a Hub id whose files are in the Hub's cache.
    :returns: ISO codes, or `multilingual`; empty if there is no card, or it names none.
    """
    try:
        card = _card(resolve_model(model))
        header = _FRONT_MATTER.match(card.read_text(encoding="utf-8")) if card is not None else None
        fields: Any = yaml.safe_load(header[1]) if header else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError, RerankError):
        return set()  # what is wrong with a model is said when it is loaded
    languages = fields.get("language") if isinstance(fields, dict) else None
    named = languages if isinstance(languages, list) else [languages]
    return {language.lower() for language in named if isinstance(language, str)}


def _card(source: str) -> Path | None:
    folder = Path(source)
    if folder.is_dir():
        return folder / CARD
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(source, CARD)
    return Path(cached) if isinstance(cached, str) else None
