"""Sources of judged queries: a folder in BEIR layout, an index in which queries were judged, a collection of ir_datasets."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rerank_plugin.checks import check_count, shown
from rerank_plugin.collections.beir import BeirDataset, BeirQuery, is_beir_folder
from rerank_plugin.collections.dataset import Dataset
from rerank_plugin.collections.trec import Qrels, read_qrels
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.files import fingerprint_files
from rerank_plugin.judgements.dataset import SAME_AS, IndexDataset, is_index

IR_DATASETS = "irds:"
ALL = "all"


@dataclass(frozen=True)
class Collection:
    """
    Documents, queries and judgements.

    :param name: Name in reports.
    :param dataset: Where they are.
    :param split: Split of the judgements.
    :param qrels_file: A file with judgements, used instead of the split's.
    """

    name: str
    dataset: Dataset
    split: str
    qrels_file: Path | None = None

    @property
    def index(self) -> Path | None:
        """The index that pipelines search, if the collection is one; `None`: its documents have to be indexed."""
        return self.dataset.folder if isinstance(self.dataset, IndexDataset) else None

    def fingerprints(self) -> dict[str, str]:
        """Return hashes of what a result depends on: `corpus`, `queries` and `judgements`."""
        found = self.dataset.fingerprints(self.split)
        return found if self.qrels_file is None else {**found, "judgements": fingerprint_files([self.qrels_file])}

    def judged(self, *, lang: str | None = None, limit: int | None = None) -> tuple[dict[str, BeirQuery], Qrels]:
        """
        Read the queries that have judgements.

        :param lang: Only queries whose metadata has this `lang`, or none, or `all` queries. `None`: if there are several
            languages, that of the first query: each language has its own index, and few models cover them all. In a
            collection that is an index, all queries.
        :param limit: Maximum number of queries, in file order; `None`: all.
        :returns: Queries by id, and their judgements.
        :raises InputFileError: If a file is missing or malformed.
        :raises InvalidValueError: If no query is left, or `limit` is below 1.
        """
        where = f"split {self.split!r}" if self.qrels_file is None else str(self.qrels_file)
        qrels = self.dataset.qrels(self.split) if self.qrels_file is None else read_qrels(self.qrels_file)
        judged = {id_: query for id_, query in self.dataset.queries().items() if id_ in qrels}
        if not judged:
            raise InvalidValueError(
                f"{self.name} has no judged queries in {where}: it judges {len(qrels)} queries, such as "
                f"{next(iter(qrels))!r}, but none of them is in queries.jsonl; check that they belong together"
            )
        languages = list(_languages(judged))
        chosen = languages[0] if lang is None and len(languages) > 1 and self.index is None else lang
        if chosen not in (None, ALL):
            judged = {id_: query for id_, query in judged.items() if _language(query) in (chosen, None)}
        if not judged:
            raise InvalidValueError(
                f"{self.name} has no judged queries with the lang {chosen!r} in {where}: choose one of "
                f"{[language for language in languages if language is not None]}, or {ALL!r}"
            )
        queries = dict(islice(judged.items(), None if limit is None else check_count("limit", limit)))
        return queries, {id_: qrels[id_] for id_ in queries}


def _languages(queries: Mapping[str, BeirQuery]) -> dict[str | None, int]:
    return dict(Counter(map(_language, queries.values())))


def _language(query: BeirQuery) -> str | None:
    lang = query.metadata.get("lang")
    if lang is not None and not isinstance(lang, str):
        raise InputFileError(
            f"query {query.id!r} in queries.jsonl: its 'lang' must be a string such as 'en', got {shown(lang)}"
        )
    return lang


def open_collection(source: str | Path, *, split: str = "test", qrels_file: Path | None = None) -> Collection:
    """
    Find a collection.

    :param source: A folder in BEIR layout, or `irds:ID` with an id of ir_datasets, such as `irds:beir/scifact/test`. The
        latter is loaded by ir_datasets, which may download it, and kept in BEIR layout in the cache folder; its judgements
        are those of the id, whatever the split. Or an index in which queries were judged.
    :param split: Split of a folder's judgements: `qrels/SPLIT.tsv`. Of an index: `dev` (also called `train`), `test`, `all`.
    :param qrels_file: Judgements to use instead; `None`: the collection's own.
    :returns: The collection.
    :raises InputFileError: If there is no such folder or collection.
    :raises MissingDependencyError: If ir_datasets is needed but not installed.
    """
    text = str(source)
    if text.startswith(IR_DATASETS):
        from rerank_plugin.evaluation.ir_datasets_source import SPLIT, fetch

        identifier = text.removeprefix(IR_DATASETS)
        return Collection(identifier, BeirDataset(fetch(identifier)), SPLIT, qrels_file)
    folder = Path(source).expanduser()
    if is_index(folder):
        return Collection(folder.resolve().name, IndexDataset(folder), SAME_AS.get(split, split), qrels_file)
    return Collection(folder.resolve().name, BeirDataset(folder), split, qrels_file)


def is_collection(path: Path) -> bool:
    """Return whether a path is a collection in BEIR layout, or an index."""
    return is_beir_folder(path) or is_index(path)


def count_languages(collection: Collection) -> dict[str | None, int]:
    """Return the number of judged queries in each language; `None` for queries without one."""
    return _languages(collection.judged(lang=ALL)[0])


def by_language(queries: Mapping[str, BeirQuery]) -> dict[str | None, dict[str, BeirQuery]]:
    """
    Group queries by the language of the index that they are searched in.

    :param queries: Queries by id.
    :returns: Queries by id, by language; `None` for those whose metadata has no `lang`.
    """
    groups: dict[str | None, dict[str, BeirQuery]] = {}
    for id_, query in queries.items():
        groups.setdefault(_language(query), {})[id_] = query
    return groups
