"""
Look for leaks and duplicates in the collections that models are trained and measured with.

    python benchmarks/bundled_model/check_material.py FOLDER_OF_COLLECTIONS

Queries and passages are compared by their words alone, in lower case. Printed are: queries of training splits that stand in a dev or test split of
any collection, passages that are judged relevant in both, queries that occur twice, equal passages of a collection, and queries that are
part of their relevant passage word for word.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from rerank_plugin.collections.beir import BeirDataset

WORDS = re.compile(r"\w+")
MEASURED = ("dev", "test", "validation")


def normalised(text: str) -> str:
    """Return the words of a text in lower case."""
    return " ".join(WORDS.findall(text.casefold()))


class Seen:
    """What training and measuring read, by normalised text."""

    def __init__(self) -> None:
        self.trained: dict[str, str] = {}
        self.measured: dict[str, str] = {}

    def add(self, text: str, place: str, *, is_measured: bool) -> None:
        """Note a text."""
        (self.measured if is_measured else self.trained).setdefault(text, place)

    def shared(self) -> Counter[tuple[str, str]]:
        """Return how many texts each pair of places shares."""
        return Counter((place, self.measured[text]) for text, place in self.trained.items() if text in self.measured)


def check(folder: Path, queries: Seen, passages: Seen) -> None:
    """Print what is doubtful within a collection, and note its texts."""
    dataset = BeirDataset(folder)
    texts = {document.id: normalised(document.full_text) for document in dataset.documents()}
    asked = {query.id: normalised(query.text) for query in dataset.queries().values()}
    equal = len(texts) - len(set(texts.values()))
    twice = len(asked) - len(set(asked.values()))
    print(
        f"{folder.name}: {len(texts):,} passages, {equal:,} equal to another; {len(asked):,} queries, {twice:,} equal to another"
    )
    for file in sorted((folder / "qrels").glob("*.tsv")):
        qrels, contained, missing = dataset.qrels(file.stem), 0, 0
        for id_, grades in qrels.items():
            relevant = [document for document, grade in grades.items() if grade > 0]
            missing += sum(document not in texts for document in relevant)
            own = asked.get(id_, "")
            contained += any(len(own.split()) > 3 and own in texts.get(document, "") for document in relevant)
            is_measured = file.stem in MEASURED
            queries.add(own, f"{folder.name}/{file.stem}", is_measured=is_measured)
            for document in relevant:
                passages.add(texts.get(document, ""), f"{folder.name}/{file.stem}", is_measured=is_measured)
        print(
            f"  {file.stem}: {len(qrels):,} queries, {contained:,} word for word in a relevant passage, {missing:,} ids missing"
        )


def main() -> None:
    """Check every collection of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    options = parser.parse_args()
    queries, passages = Seen(), Seen()
    for folder in sorted(path for path in options.collections.iterdir() if (path / "qrels").is_dir()):
        check(folder, queries, passages)
    for title, seen in (("queries", queries), ("relevant passages", passages)):
        print(f"\n{title} of training that are also measured with:")
        for (trained, measured), count in sorted(seen.shared().items()):
            print(f"  {trained} in {measured}: {count:,}")


if __name__ == "__main__":
    main()
