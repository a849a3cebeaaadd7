"""
Terms that occur in a large share of all documents. Their frequencies are stored per document, in columns of the index.

Such a term carries little information, but a search must visit every document that contains it: in a million passages that
is most of the work for a question with "the" and "of". With the frequencies in columns, a search can leave these terms out
at first, and add their scores to those of the best documents found with the other terms. The maximum that they can add is
known, and therefore whether an unvisited document could have ranked higher: the result is exact. (The idea is MaxScore:
Turtle and Flood, "Query evaluation: strategies and optimizations", 1995.)
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# A term gets a column if it is in this share of the documents; 64 columns of small numbers take about 25 bytes a document.
_MIN_SHARE = 0.05
_MAX_TERMS = 64
# With fewer documents every search is fast.
MIN_DOCUMENTS = 50_000
# The terms are chosen again once the collection has grown by this factor.
_GROWTH = 10


@dataclass(frozen=True)
class FrequentTerms:
    """
    The terms, each with the number of the column that holds its frequencies.

    :param columns: Term -> number of the column.
    :param chosen_at: Number of documents when the terms were chosen; 0 if none were chosen.
    """

    columns: dict[str, int] = field(default_factory=dict)
    chosen_at: int = 0

    @classmethod
    def choose(cls, sample: Iterable[Sequence[str]], count: int) -> "FrequentTerms":
        """
        Choose the terms from a sample of the documents.

        :param sample: The terms of each document in the sample.
        :param count: Number of documents in the index.
        """
        size, document_frequencies = 0, Counter[str]()
        for terms in sample:
            size += 1
            document_frequencies.update(set(terms))
        most_common = document_frequencies.most_common(_MAX_TERMS)
        chosen = [term for term, frequency in most_common if frequency >= _MIN_SHARE * size]
        return cls({term: column for column, term in enumerate(chosen)}, count)

    def outgrown(self, count: int) -> bool:
        """
        Return whether the terms should be chosen again.

        :param count: Current number of documents.
        """
        return count >= MIN_DOCUMENTS and count > _GROWTH * self.chosen_at

    def frequencies(self, terms: Sequence[str]) -> dict[int, int]:
        """
        Return the non-zero columns of a document: number of the column -> frequency.

        :param terms: All terms of the document.
        """
        if not self.columns:
            return {}
        counts = Counter(filter(self.columns.__contains__, terms))
        return {self.columns[term]: frequency for term, frequency in counts.items()}


def _lengths() -> list[int]:
    """Return the lengths that one byte can encode: exact up to 40, then four significant bits (Lucene's SmallFloat)."""
    exact = 24
    steps = (
        bits if exponent < 0 else (bits | 8) << exponent for exponent, bits in (((i >> 3) - 1, i & 7) for i in range(232))
    )
    return [*range(exact), *(exact + step for step in steps)]


_LENGTHS = _lengths()


def rounded_length(length: int) -> int:
    """
    Return the document length as tantivy stores it, in one byte.

    :param length: Number of terms.
    """
    return _LENGTHS[bisect_right(_LENGTHS, length) - 1]
