"""
Ask an index of real documentation 60 questions, and count passages whose words have run together.

    python benchmarks/real_documentation/measure.py FOLDER INDEX [PIPELINE...] [--split dev] [--json]

FOLDER is what `gather.sh` made, INDEX what `rerank index FOLDER --index INDEX` made of it. A question is answered at the rank of the
first passage that holds one of its answers, in the first ten; any of its places counts, so R@10 is the share of questions answered.
"""

import argparse
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from haystack import Document

from rerank_plugin.errors import RerankError
from rerank_plugin.pipelines.loading import load_pipeline
from rerank_plugin.search import Searcher
from rerank_plugin.store.document_store import HybridDocumentStore

QUESTIONS = Path(__file__).with_name("questions.json")
SPLITS = ("dev", "test")
TOP_K = 10
FILES_AT_A_TIME = 100

# No word of these documents is longer, so that its passage has lost the spaces between words.
MAX_LETTERS = 45
RUN_TOGETHER = re.compile(rf"[^\W\d_]{{{MAX_LETTERS + 1},}}")

# What converters write differently: a hyphen that ends a line of a PDF, quotes, dashes, and the marks of Markdown.
LINE_END_HYPHEN = re.compile("[\u00ad\u0002\ufffe]\\s*")
ALIKE = str.maketrans(
    {
        **dict.fromkeys("‘’‛", "'"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys("*`\\\u200b", ""),
    }
)


@dataclass(frozen=True)
class Answer:
    """A place that answers a question: passages of a file, below the folder, that match a regular expression."""

    file: str
    contains: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The regular expression, which is for text as `plain` returns it."""
        return re.compile(self.contains, re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """A question, and the places that answer it."""

    id: str
    product: str
    split: str
    question: str
    answers: tuple[Answer, ...]

    def answered_by(self, document: Document, folder: Path) -> bool:
        """Whether a passage, or its copy in another file, is one of the places."""
        files = files_of(document, folder)
        candidates = [answer for answer in self.answers if answer.file in files]
        return bool(candidates) and any(answer.pattern.search(plain(document)) for answer in candidates)


def read_questions(path: Path) -> list[Question]:
    """Read the questions."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Question(**{**row, "answers": tuple(Answer(**answer) for answer in row["answers"])}) for row in rows]


def plain(document: Document) -> str:
    """Return the text of a passage in one line, with the differences between converters taken out."""
    text = unicodedata.normalize("NFKC", document.content or "")
    return " ".join(LINE_END_HYPHEN.sub("", text).translate(ALIKE).split())


def files_of(document: Document, folder: Path) -> set[str]:
    """Return the files that a passage occurs in, relative to the folder: its own, and those whose copies were not stored."""
    places = [document.meta, *document.meta.get("also_in", [])]
    paths = [Path(place["source"]) for place in places if "source" in place]
    return {path.relative_to(folder).as_posix() for path in paths if path.is_relative_to(folder)}


def read_passages(store: HybridDocumentStore, folder: Path) -> Iterator[Document]:
    """Return the passages of the folder's files, a few files at a time: with embeddings, all of them would fill the memory."""
    sources = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    for start in range(0, len(sources), FILES_AT_A_TIME):
        chosen = sources[start : start + FILES_AT_A_TIME]
        yield from store.filter_documents({"field": "meta.source", "operator": "in", "value": chosen})


def inspect(
    documents: Iterable[Document], questions: Sequence[Question], folder: Path
) -> tuple[dict[str, dict[str, int]], Counter[str]]:
    """
    Count the passages of an index.

    :param documents: The passages.
    :param questions: The questions.
    :param folder: The folder of the files.
    :returns: By type of file, the passages, and those of them with more than `MAX_LETTERS` letters in a row; and for the id of
        each question, the passages that answer it.
    """
    counts: dict[str, dict[str, int]] = {}
    right: Counter[str] = Counter()
    for document in documents:
        run_together = bool(RUN_TOGETHER.search(document.content or ""))
        for kind in ("all", Path(document.meta["source"]).suffix):
            row = counts.setdefault(kind, {"passages": 0, "run_together": 0})
            row["passages"] += 1
            row["run_together"] += run_together
        right.update(question.id for question in questions if question.answered_by(document, folder))
    return counts, right


def ask(searcher: Searcher, question: Question, folder: Path) -> dict[str, Any]:
    """Return the rank of the first passage that answers a question, `None` if there is none, and the file of the first hit."""
    hits = searcher.search(question.question, top_k=TOP_K).hits
    rank = next((hit.rank for hit in hits if question.answered_by(hit.document, folder)), None)
    return {"rank": rank, "first_hit": str(hits[0].document.meta.get("source", "")) if hits else ""}


def means(ranks: Sequence[int | None]) -> dict[str, float]:
    """Return the measures of a pipeline."""
    found = [rank for rank in ranks if rank is not None]
    return {
        "R@1": found.count(1) / len(ranks),
        "R@10": len(found) / len(ranks),
        "RR@10": sum(1 / rank for rank in found) / len(ranks),
    }


def measure(folder: Path, index: Path, pipelines: Sequence[str], questions: Sequence[Question]) -> dict[str, Any]:
    """Ask the questions, and return everything that is printed."""
    counts, right = inspect(read_passages(HybridDocumentStore(index), folder), questions, folder)
    if not counts:
        sys.exit(f"{index} has no passage of a file in {folder}: fill it with `rerank index {folder} --index {index}`")
    rows = [
        {
            "id": question.id,
            "split": question.split,
            "question": question.question,
            "right_passages": right[question.id],
            "results": {},
        }
        for question in questions
    ]
    for name in pipelines:
        searcher = Searcher(load_pipeline(name, index=index))
        searcher.warm_up()
        for row, question in zip(rows, questions, strict=True):
            row["results"][name] = ask(searcher, question, folder)
    splits = {split: [row for row in rows if row["split"] == split] for split in SPLITS}
    measures = {
        name: {
            split: means([row["results"][name]["rank"] for row in chosen])
            for split, chosen in {**splits, "all": rows}.items()
            if chosen
        }
        for name in pipelines
    }
    return {"passages": counts, "measures": measures, "questions": rows}


def show(report: dict[str, Any]) -> None:
    """Print the report as Markdown."""
    print("| files | passages | run together | share |\n| --- | ---: | ---: | ---: |")
    for kind, row in report["passages"].items():
        share = row["run_together"] / row["passages"]
        print(f"| {kind} | {row['passages']:,} | {row['run_together']:,} | {share:.2%} |")
    print("\n| pipeline | split | R@1 | R@10 | RR@10 |\n| --- | --- | ---: | ---: | ---: |")
    for name, splits in report["measures"].items():
        for split, row in splits.items():
            print(f"| {name} | {split} | {row['R@1']:.3f} | {row['R@10']:.3f} | {row['RR@10']:.3f} |")
    names = list(report["measures"])
    print(f"\n| question | split | right passages | {' | '.join(f'rank, {name}' for name in names)} |")
    print(f"| --- | --- | ---: | {' | '.join('---:' for _ in names)} |")
    for row in report["questions"]:
        ranks = [str(row["results"][name]["rank"] or "-") for name in names]
        print(f"| {row['id']} | {row['split']} | {row['right_passages']} | {' | '.join(ranks)} |")
    for name in names:
        show_misses(name, [row for row in report["questions"] if row["results"][name]["rank"] is None])


def show_misses(name: str, misses: Sequence[dict[str, Any]]) -> None:
    """Print the questions that a pipeline did not answer."""
    print(f"\nMisses of {name}: {len(misses)}")
    for row in misses:
        reason = f"first hit: {row['results'][name]['first_hit'] or 'none'}"
        if not row["right_passages"]:
            reason = "no passage of the index holds an answer"
        print(f"- {row['id']}: {row['question']} ({reason})")


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the files, as gather.sh made them")
    parser.add_argument("index", type=Path, help="the index of the folder")
    parser.add_argument("pipelines", nargs="*", metavar="pipeline", help="names or YAML files; default: bm25 bm25_rerank")
    parser.add_argument("--split", choices=SPLITS, help="only these questions; default: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    for path in (options.folder, options.index):
        if not path.is_dir():
            parser.error(f"{path} is not a folder")
    questions = [question for question in read_questions(QUESTIONS) if options.split in (None, question.split)]
    try:
        report = measure(options.folder.resolve(), options.index, options.pipelines or ["bm25", "bm25_rerank"], questions)
    except RerankError as error:
        sys.exit(str(error))
    if options.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        show(report)


if __name__ == "__main__":
    main()
