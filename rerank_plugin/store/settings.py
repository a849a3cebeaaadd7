"""What a store is set to: the values that a user may choose, and how they are resolved against an existing index."""

from dataclasses import dataclass, fields, replace
from typing import Any

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
    The settings that are kept inside an index. `None` means "as the index says", and the default for a new index.

    :param similarity: How two vectors are compared.
    :param keyword_engine: What answers keyword queries.
    :param language: Language of the texts: chooses stemmer and stop words; `simple` for neither.
    :param stop_words: Whether frequent function words are left out of the keyword index.
    :param embedding_dim: Length of the vectors; `None` until the first vector is written.
    :param search_fields: What keyword search looks at.
    """

    similarity: str | None = None
    keyword_engine: str | None = None
    language: str | None = None
    stop_words: bool | None = None
    embedding_dim: int | None = None
    search_fields: SearchFields | None = None

    def __post_init__(self) -> None:
        """Reject values that no index can have."""
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise InvalidValueError(f"unknown {name} {value!r}; choose one of {list(choices)}")
        if self.stop_words and (self.language or "en") not in STOP_WORDS:
            raise InvalidValueError(f"there are no stop words for language {self.language!r}, only for {sorted(STOP_WORDS)}")
        dim = self.embedding_dim
        if dim is not None and (not isinstance(dim, int) or isinstance(dim, bool) or dim < 1):
            raise InvalidValueError(f"embedding_dim must be a whole number of at least 1, got {dim!r}")

    def with_defaults(self) -> "Settings":
        """Return the settings of a new index: every choice that was left open gets its default, the first one."""
        open_choices: dict[str, Any] = {n: c[0] for n, c in CHOICES.items() if getattr(self, n) is None}
        return replace(self, **open_choices, search_fields=self.search_fields or SearchFields())

    def resolve_against(self, stored: "Settings", place: str) -> "Settings":
        """
        Return what a store with these settings uses on an index that was built with `stored`.

        Only the keyword engine may differ: it does not change what is found. With another similarity or language the same
        query would silently find other documents, so a contradiction is an error.

        :param stored: The settings inside the index.
        :param place: The index, for the message.
        :raises StoreError: If a setting was given and the index was built with another.
        """
        for name in ("similarity", "language", "stop_words", "embedding_dim", "search_fields"):
            asked, built = getattr(self, name), getattr(stored, name)
            if asked is not None and built is not None and asked != built:
                raise StoreError(
                    f"{place} was built with {name}={built!r}, but {name}={asked!r} was asked for: leave {name} out, "
                    "or index the documents into a new folder"
                )
        return replace(stored, keyword_engine=self.keyword_engine or stored.keyword_engine)

    def to_rows(self) -> dict[str, Any]:
        """Return the settings as names and values that SQLite can hold."""
        rows = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**rows, "search_fields": self.search_fields and self.search_fields.to_json()}

    @classmethod
    def from_rows(cls, rows: dict[str, Any]) -> "Settings":
        """
        Return the settings that `to_rows` gave.

        :param rows: Names and values; other names are ignored.
        """
        known = {field.name: rows.get(field.name) for field in fields(cls)}
        known["stop_words"] = bool(known["stop_words"])
        known["search_fields"] = SearchFields.from_json(known["search_fields"])
        return cls(**known)


def check_vector_index(vector_index: str) -> None:
    """
    Check the name of a vector index.

    :param vector_index: The name.
    :raises InvalidValueError: If there is no such index.
    """
    if vector_index not in VECTOR_INDEXES:
        raise InvalidValueError(f"unknown vector_index {vector_index!r}; choose one of {list(VECTOR_INDEXES)}")
