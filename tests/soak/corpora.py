"""Folders of files to index, small models, and what an index holds."""

import json
import random
from pathlib import Path
from typing import Any

from conftest import WORDS, write_bi_encoder, write_cross_encoder

KEYWORD = "indexing_keyword"


def sentence(chance: random.Random, words: int = 9) -> str:
    """Return words that the tokenizers of the tests know."""
    return " ".join(chance.choices(WORDS, k=words)).capitalize() + "."


def paragraph(chance: random.Random, sentences: int) -> str:
    """Return sentences in a row."""
    return " ".join(sentence(chance) for _ in range(sentences))


def shared_paragraphs() -> list[str]:
    """Return paragraphs that several files have in common: too long for two of them to be one passage."""
    return [f"shared{number} {paragraph(random.Random(number), 8)}" for number in range(6)]


def write_files(folder: Path, seed: int, *, files: int = 12, lines: int = 120) -> Path:
    """Write text, Markdown and HTML files, and a corpus in JSON Lines; passages of different texts have different words."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        write_file(folder, number, chance)
    write_corpus(folder / "corpus.jsonl", chance, lines)
    return folder


def write_file(folder: Path, number: int, chance: random.Random) -> None:
    """Write a file of a type that follows from its number, anew each time; those with odd numbers have passages in common."""
    if number % 2:
        (folder / f"copy{number:02}").mkdir(exist_ok=True)
        parts = chance.choices(shared_paragraphs(), k=chance.randint(1, 5))
        replace(folder / f"copy{number:02}" / "shared.txt", "".join(f"{part}\n\n" for part in parts))
        return
    name, parts = f"file{number:02}", [f"unique{number}x{i} {paragraph(chance, 8)}" for i in range(chance.randint(1, 5))]
    suffix = (".txt", ".md", ".html")[number % 3]
    if suffix == ".html":
        body = "".join(f"<p>{part}</p>" for part in parts)
        text = f"<html><head><title>{name}</title></head><body><article>{body}</article></body></html>"
    else:
        text = (f"# Heading of {name}\n\n" if suffix == ".md" else "") + "\n\n".join(parts)
    replace(folder / f"{name}{suffix}", text)


def write_corpus(path: Path, chance: random.Random, lines: int) -> None:
    """Write a corpus in BEIR format."""
    rows = [{"_id": f"d{i}", "title": f"Title {i}", "text": f"line{i} {paragraph(chance, 3)}"} for i in range(lines)]
    replace(path, "\n".join(map(json.dumps, rows)))


def replace(path: Path, text: str) -> None:
    """Replace a file atomically, as an editor does."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def embedding_pipeline(folder: Path, repository: Path) -> Path:
    """Write the pipeline `indexing` with a tiny bi-encoder, which is made here."""
    model = write_bi_encoder(folder / "models" / "bi-encoder")
    text = (repository / "pipelines" / "indexing.yaml").read_text(encoding="utf-8")
    path = folder / "indexing_tiny.yaml"
    path.write_text(text.replace("sentence-transformers/all-MiniLM-L6-v2", str(model)), encoding="utf-8")
    return path


def other_pipeline(folder: Path, repository: Path) -> Path:
    """Write a keyword pipeline that cuts passages otherwise, so that their ids differ."""
    text = (repository / "pipelines" / f"{KEYWORD}.yaml").read_text(encoding="utf-8")
    path = folder / "indexing_short.yaml"
    path.write_text(text.replace("split_length: 120", "split_length: 30"), encoding="utf-8")
    return path


def ranker_model(folder: Path) -> Path:
    """Make a tiny cross-encoder."""
    return write_cross_encoder(folder / "models" / "cross-encoder")


def contents(index: Path) -> dict[str, Any]:
    """Return the content of an index by id: text, meta and vector of each passage."""
    from rerank_plugin import HybridDocumentStore

    store = HybridDocumentStore(index)
    try:
        documents = store.filter_documents()
        searchable = {document.id for document in store.bm25_retrieval(" ".join(WORDS), top_k=1_000_000)}
        missing = [d for d in documents if (d.content or "").strip() and d.id not in searchable]
        if missing:
            example = f"such as {missing[0].content!r} of {missing[0].meta['source']}"
            raise AssertionError(f"{len(missing)} of {len(documents)} passages are not found by keyword search, {example}")
        vectors = [document for document in documents if document.embedding]
        if vectors and len(store.embedding_retrieval(vectors[0].embedding, top_k=1_000_000)) != len(vectors):
            raise AssertionError(f"vector search does not find all {len(vectors)} passages that have a vector")
        return {document.id: (document.content, document.meta, document.embedding) for document in documents}
    finally:
        store.close()


def difference(expected: dict[str, Any], got: dict[str, Any]) -> str | None:
    """Describe how two indexes differ; vectors may differ by rounding."""
    if expected.keys() != got.keys():
        lost, more = len(expected.keys() - got.keys()), len(got.keys() - expected.keys())
        return f"{lost} of {len(expected)} passages are missing, {more} are there that should not be"
    for key, (content, meta, vector) in expected.items():
        other = got[key]
        if (content, meta) != (other[0], other[1]):
            return f"passage {key[:8]} differs: {(content, meta)} became {other[:2]}"
        if (vector is None) != (other[2] is None):
            return f"passage {key[:8]}: the vector is missing, or there where none should be"
        if vector and max(abs(a - b) for a, b in zip(vector, other[2], strict=True)) > 1e-5:
            return f"passage {key[:8]} has another vector"
    return None
