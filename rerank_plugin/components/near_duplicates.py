"""
Near-duplicate detection: the resemblance of two documents is the Jaccard similarity of their sets of word shingles.

A. Z. Broder, "On the resemblance and containment of documents", Compression and Complexity of Sequences 1997. The lists
compared here are short, so the sets are intersected exactly, without the sketches (MinHash) of the paper.
"""

import re
import unicodedata

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


def resemble(one: Shingles, other: Shingles, threshold: float) -> bool:
    """
    Return whether two documents are near duplicates.

    :param one: The shingles of one document.
    :param other: The shingles of the other.
    :param threshold: Lowest Jaccard similarity of near duplicates, above 0.
    """
    fewer, more = sorted((len(one), len(other)))
    if fewer < threshold * more or not fewer:  # the similarity is at most fewer / more
        return False
    common = len(one & other)
    return common >= threshold * (fewer + more - common)
