"""The settings of a store: their valid values, and how they are resolved against an existing index."""

from dataclasses import dataclass, fields, replace
from typing import Any

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.store.keywords.analysis import SIMPLE, STEMMERS, STOP_WORDS
from rerank_plugin.store.keywords.fields import SearchFields

CHOICES = {
    "similarity": ("cosine", "dot_product", "l2"),
    "keyword_engine": ("tantivy", "rank_bm25"),
    "language": ("en", *(name for name in STEMMERS if name != "en"), SIMPLE),
    "stop_words": (False, True),
}
VECTOR_INDEXES = ("auto", "flat", "hnsw", "hnsw_sq8", "ivf", "ivf_sq8")


@dataclass(frozen=True)
class Settings:
    """
    The settings stored in an index. `None` means the setting of an existing index, or the default for a new one.

    :param similarity: How two vectors are compared.
    :param keyword_engine: The engine of keyword search.
    :param language: Language of the texts, which selects stemmer and stop words; `simple` for neither.
    :param stop_words: Whether frequent function words are left out of the keyword index, and not of queries only.
    :param embedding_dim: Length of the vectors; `None` until the first vector is written.
    :param search_fields: The fields that keyword search covers, with their weights.
    """

    similarity: str | None = None
    keyword_engine: str | None = None
    language: str | None = None
    stop_words: bool | None = None
    embedding_dim: int | None = None
    search_fields: SearchFields | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise InvalidValueError(f"unknown {name} {shown(value)}; choose one of {list(choices)}")
        if self.stop_words and (self.language or "en") not in STOP_WORDS:
            raise InvalidValueError(
                f"there are no stop words for language {shown(self.language)}, only for {sorted(STOP_WORDS)}"
            )
        dim = self.embedding_dim
        if dim is not None and (not isinstance(dim, int) or isinstance(dim, bool) or dim < 1):
            raise InvalidValueError(f"embedding_dim must be a whole number of at least 1, got {shown(dim)}")

    def with_defaults(self) -> "Settings":
        """Return the settings of a new index: `None` is replaced by the default, the first of the choices."""
        defaults: dict[str, Any] = {name: choices[0] for name, choices in CHOICES.items() if getattr(self, name) is None}
        return replace(self, **defaults, search_fields=self.search_fields or SearchFields())

    def resolve_against(self, stored: "Settings", place: str) -> "Settings":
        """
        Return the settings that a store with these settings uses on an index that was built with `stored`.

        Only the keyword engine may differ, as both engines return the same documents. With another similarity or language
        the same query would silently return other documents, so a conflict is an error.

        :param stored: The settings stored in the index.
        :param place: The index, for the message.
        :raises StoreError: If a setting was given and the index was built with another value.
        """
        for name in ("similarity", "language", "stop_words", "embedding_dim", "search_fields"):
            requested, built = getattr(self, name), getattr(stored, name)
            if requested is not None and built is not None and requested != built:
                raise StoreError(
                    f"{place} was built with {name}={built!r}, but {name}={requested!r} was requested: omit {name}, "
                    "or index the documents into a new folder"
                )
        return replace(stored, keyword_engine=self.keyword_engine or stored.keyword_engine)

    def to_rows(self) -> dict[str, Any]:
        """Return the settings as names and values that SQLite can store."""
        rows = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**rows, "search_fields": self.search_fields and self.search_fields.to_json()}

    @classmethod
    def from_rows(cls, rows: dict[str, Any]) -> "Settings":
        """
        Return the settings stored by `to_rows`.

        :param rows: Names and values; unknown names are ignored.
        """
        known = {field.name: rows.get(field.name) for field in fields(cls)}
        known["stop_words"] = bool(known["stop_words"])
        known["search_fields"] = SearchFields.from_json(known["search_fields"])
        return cls(**known)


def check_vector_index(vector_index: str) -> None:
    """
    Check the kind of a vector index.

    :param vector_index: The kind.
    :raises InvalidValueError: If it is not one of `VECTOR_INDEXES`.
    """
    if vector_index not in VECTOR_INDEXES:
        raise InvalidValueError(f"unknown vector_index {shown(vector_index)}; choose one of {list(VECTOR_INDEXES)}")
