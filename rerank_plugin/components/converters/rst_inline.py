"""Inline markup of reStructuredText, with a bound on the time that docutils takes for it."""

import re
from typing import Any

# What may begin inline markup, or end a reference.
_MARK = re.compile(r"[`*|\[]|_(?!\w)")
# For each mark that is not closed, docutils searches the rest of the paragraph, and for each reference its siblings. This is
# the number of characters that are searched at most: a paragraph of 20,000 characters may have 250 marks.
_MOST_SEARCHED = 5_000_000


class PlainParagraphs:
    """Counts the paragraphs whose inline markup was left as it is."""

    def __init__(self) -> None:
        self.count = 0

    def remarks(self) -> list[str]:
        """Return a remark on them, if there are any."""
        if not self.count:
            return []
        paragraphs, its = ("1 paragraph is", "its") if self.count == 1 else (f"{self.count} paragraphs are", "their")
        return [f"{paragraphs} too long, with too many backticks and the like, to read {its} inline markup: kept as written"]

    def inliner(self) -> Any:
        """Return what reads inline markup for a parser of docutils."""
        from docutils import nodes
        from docutils.parsers.rst.states import Inliner

        inliner = Inliner()
        parse = inliner.parse

        def bounded(text: str, *arguments: Any) -> tuple[list[Any], list[Any]]:
            if len(text) * len(_MARK.findall(text)) > _MOST_SEARCHED:
                self.count += 1
                return [nodes.Text(text)], []
            found: tuple[list[Any], list[Any]] = parse(text, *arguments)
            return found

        inliner.parse = bounded  # a subclass would not do: docutils looks for the patterns in the class itself
        return inliner
