"""
Near-duplicate detection: the resemblance of two documents is the Jaccard similarity of their sets of word shingles.

A. Z. Broder, "On the resemblance and containment of documents", Compression and Complexity of Sequences 1997. The lists
compared here are short, so the similarities are exact, without the sketches (MinHash) of the paper.
"""

import re
import unicodedata
from collections import Counter, defaultdict

from haystack import Document

Shingles = frozenset[tuple[str, ...]]

_WORD = re.compile(r"\w+")


def shingles(document: Document, size: int) -> Shingles:
    """
    Return the word shingles (runs of consecutive words) of a document's title and content.

    Case, punctuation, white space and Unicode's compatibility forms make no difference. The title is included because the
    same short text under two titles can say two different things.

    :param document: The document.
    :param size: Words in a shingle. A document with fewer words has a single shingle, so only an equal one resembles it.
    :returns: The shingles; empty for a document without text, which resembles no other.
    """
    content = document.content or ""
    if not content.strip():
        return frozenset()
    text = unicodedata.normalize("NFKC", f"{document.meta.get('title') or ''}\n{content}").casefold()
    words = _WORD.findall(text) or text.split()  # text of symbols alone
    if len(words) <= size:
        return frozenset([tuple(words)])
    return frozenset(zip(*(words[start:] for start in range(size)), strict=False))


class NearDuplicates:
    """
    Finds which of the documents that were added a further one resembles.

    Only documents that share a shingle are compared, so a long list takes little longer for each document than a short one.

    :param threshold: Lowest Jaccard similarity of near duplicates, above 0.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._sizes: list[int] = []
        self._places: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def add(self, document: Shingles) -> None:
        """Add a document; the first one has number 0."""
        for shingle in document:
            self._places[shingle].append(len(self._sizes))
        self._sizes.append(len(document))

    def find(self, document: Shingles) -> int | None:
        """Return the number of the first document that was added and that this one resembles; `None` if there is none."""
        common: Counter[int] = Counter()
        for shingle in document & self._places.keys():
            common.update(self._places[shingle])
        return min(
            (
                number
                for number, count in common.items()
                if count >= self._threshold * (len(document) + self._sizes[number] - count)
            ),
            default=None,
        )
