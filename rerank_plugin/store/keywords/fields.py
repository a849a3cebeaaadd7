"""Which parts of a document keyword search looks at, and how much each counts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rerank_plugin.errors import InvalidValueError

CONTENT = "content"
# A weight repeats words, so a large one blows the index up and drowns every other field.
MOST = 20


@dataclass(frozen=True, repr=False)
class SearchFields:
    """
    The fields and their weights: a word in a field of weight 3 counts as three words.

    This is BM25F in its simple form (Robertson, Zaragoza and Taylor, "Simple BM25 extension to multiple weighted fields",
    2004): frequencies are added up with weights before they are saturated, so that a word in two fields does not count as
    much as two words.

    :param weights: Names of fields and their weights: `content`, or a field of the meta; `a.b` is a field within a field.
    """

    weights: tuple[tuple[str, int], ...] = (("title", 1), (CONTENT, 1))

    @classmethod
    def of(cls, weights: Any) -> "SearchFields":
        """
        Check what a user chose.

        :param weights: Names of fields, with or without the prefix `meta.`, and their weights.
        :raises InvalidValueError: If it is no such dictionary, or a weight is no whole number from 1 to 20.
        """
        if not isinstance(weights, Mapping) or not weights:
            raise InvalidValueError(f"search_fields must map names of fields to weights, got {weights!r}")
        for name, weight in weights.items():
            if not isinstance(name, str) or not name.removeprefix("meta."):
                raise InvalidValueError(f"search_fields: {name!r} is no name of a field")
            if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= MOST:
                raise InvalidValueError(
                    f"search_fields: the weight of {name!r} must be a whole number from 1 to {MOST}, got {weight!r}"
                )
        bare = {name.removeprefix("meta."): weight for name, weight in weights.items()}
        return cls(tuple(sorted(bare.items(), key=lambda field: (field[0] == CONTENT, field[0]))))

    def __repr__(self) -> str:
        """Return the fields as a user writes them."""
        return repr(dict(self.weights))

    @classmethod
    def from_json(cls, text: str | None) -> "SearchFields":
        """
        Return what `to_json` gave; the default for an index that does not say.

        :param text: The text.
        """
        return cls() if text is None else cls.of(json.loads(text))

    def to_json(self) -> str:
        """Return the weights as a text."""
        return json.dumps(dict(self.weights), ensure_ascii=False)

    def text(self, meta: dict[str, Any], content: str | None) -> str:
        """
        Return what keyword search looks at, a field of weight 3 three times; empty if there is nothing.

        :param meta: Meta of the document; texts, numbers and lists of them count.
        :param content: Content of the document.
        """
        parts = []
        for name, weight in self.weights:
            part = (content or "") if name == CONTENT else _as_text(_value(meta, name))
            if part and not part.isspace():
                parts += [part] * weight
        return "\n".join(parts)


def _value(meta: dict[str, Any], name: str) -> Any:
    if name in meta:
        return meta[name]
    value: Any = meta
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return "\n".join(filter(None, map(_as_text, value)))
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
