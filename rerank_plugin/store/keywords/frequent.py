"""
Words that stand in a large share of all documents. Their frequencies are kept document by document, beside the index.

Such a word says little about a document, but the search has to look at every document that holds it: in a million passages
that is most of the work for a question with "the" and "of" in it. With the frequencies at hand, a search can leave these
words out, and their scores are added to those of the best documents that the other words find. As it is known how much
they can add at most, it is known whether a document that was not looked at could have been better: nothing is lost. (The
idea is MaxScore: Turtle and Flood, "Query evaluation: strategies and optimizations", 1995.)
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# A word in so large a share of the documents is kept; 64 columns of small numbers take some 25 bytes a document.
_SHARE = 0.05
_MOST = 64
# With fewer documents every search is fast.
FEWEST_DOCUMENTS = 50_000
# The words of a language hardly change; those of a collection may, when it has grown so many times.
_GROWTH = 10


@dataclass(frozen=True)
class FrequentTerms:
    """
    The terms, each with the number of the column that holds its frequencies.

    :param columns: Term -> number of the column.
    :param chosen_at: Number of documents there were when they were chosen; 0 if none were.
    """

    columns: dict[str, int] = field(default_factory=dict)
    chosen_at: int = 0

    @classmethod
    def choose(cls, sample: Iterable[Sequence[str]], count: int) -> "FrequentTerms":
        """
        Choose from some of the documents.

        :param sample: Terms of each of these documents.
        :param count: Number of documents there are.
        """
        size, holders = 0, Counter[str]()
        for terms in sample:
            size += 1
            holders.update(set(terms))
        chosen = [term for term, number in holders.most_common(_MOST) if number >= _SHARE * size]
        return cls({term: column for column, term in enumerate(chosen)}, count)

    def outgrown(self, count: int) -> bool:
        """
        Return whether they should be chosen anew.

        :param count: Number of documents there are now.
        """
        return count >= FEWEST_DOCUMENTS and count > _GROWTH * self.chosen_at

    def frequencies(self, terms: Sequence[str]) -> dict[int, int]:
        """
        Return the columns of a document that are not 0, and the frequencies that belong there.

        :param terms: All terms of the document.
        """
        if not self.columns:
            return {}
        counts = Counter(filter(self.columns.__contains__, terms))
        return {self.columns[term]: frequency for term, frequency in counts.items()}


def _lengths() -> list[int]:
    """Return the lengths that one byte can stand for: exact up to 40, then four significant bits (Lucene's SmallFloat)."""
    exact = 24
    steps = (
        bits if exponent < 0 else (bits | 8) << exponent for exponent, bits in (((i >> 3) - 1, i & 7) for i in range(232))
    )
    return [*range(exact), *(exact + step for step in steps)]


_LENGTHS = _lengths()


def rounded_length(length: int) -> int:
    """
    Return the length that tantivy computes with for a document: it keeps one byte for it.

    :param length: Number of terms.
    """
    return _LENGTHS[bisect_right(_LENGTHS, length) - 1]
