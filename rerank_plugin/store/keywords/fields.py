"""The fields of a document that keyword search covers, and their weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError

CONTENT = "content"
# A weight repeats words, so a large one inflates the index and dominates the other fields.
MAX_WEIGHT = 20


@dataclass(frozen=True, repr=False)
class SearchFields:
    """
    The fields and their weights: a word in a field of weight 3 counts as three words.

    This is the simple form of BM25F (Robertson, Zaragoza and Taylor, "Simple BM25 extension to multiple weighted fields",
    2004): weighted term frequencies are summed before saturation, so that a word in two fields does not score as much as
    two different words.

    :param weights: Field names and their weights: `content`, or a field of the meta; `a.b` is a nested field.
    """

    weights: tuple[tuple[str, int], ...] = (("title", 1), (CONTENT, 1))

    @classmethod
    def of(cls, weights: Any) -> "SearchFields":
        """
        Check the parameter `search_fields`.

        :param weights: Names of fields, with or without the prefix `meta.`, and their weights.
        :raises InvalidValueError: If it is not such a dictionary, or a weight is not a whole number from 1 to 20.
        """
        if not isinstance(weights, Mapping) or not weights:
            raise InvalidValueError(f"search_fields must map names of fields to weights, got {shown(weights)}")
        for name, weight in weights.items():
            if not isinstance(name, str) or not name.removeprefix("meta."):
                raise InvalidValueError(f"search_fields: {shown(name)} is not the name of a field")
            if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= MAX_WEIGHT:
                raise InvalidValueError(
                    f"search_fields: the weight of {shown(name)} must be a whole number from 1 to {MAX_WEIGHT}, "
                    f"got {shown(weight)}"
                )
        bare = {name.removeprefix("meta."): weight for name, weight in weights.items()}
        return cls(tuple(sorted(bare.items(), key=lambda field: (field[0] == CONTENT, field[0]))))

    def __repr__(self) -> str:
        """Return the fields as the dictionary that a user passes."""
        return repr(dict(self.weights))

    @classmethod
    def from_json(cls, text: str | None) -> "SearchFields":
        """
        Return the fields stored by `to_json`; the default for an index without them.

        :param text: The JSON, or None.
        """
        return cls() if text is None else cls.of(json.loads(text))

    def to_json(self) -> str:
        """Return the weights as JSON."""
        return json.dumps(dict(self.weights), ensure_ascii=False)

    def text(self, meta: dict[str, Any], content: str | None) -> str:
        """
        Return the text to index: a field of weight 3 is repeated three times. Empty if no field has text.

        :param meta: Meta of the document; strings, numbers and lists of them are indexed.
        :param content: Content of the document.
        """
        parts = []
        for name, weight in self.weights:
            text = (content or "") if name == CONTENT else _as_text(_value(meta, name))
            if text and not text.isspace():
                parts += [text] * weight
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
