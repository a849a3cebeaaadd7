"""`rerank judge`."""

import getpass
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_plugin.cli.app import AppOptions, EmbeddingModelOption, app
from rerank_plugin.cli.lazy_torch import postpone_torch
from rerank_plugin.cli.printing import counted, echo, to_json
from rerank_plugin.cli.progress import quiet_libraries
from rerank_plugin.errors import InvalidValueError

if TYPE_CHECKING:
    from rerank_plugin.judgements.judgements import Judgements
    from rerank_plugin.judgements.pooling import PooledHit
    from rerank_plugin.search import Searcher


@app.command()
def judge(
    context: typer.Context,
    index: Annotated[Path, typer.Argument(help="Folder of an index.")],
    queries: Annotated[
        Path | None, typer.Option(help="Queries to add: a text with one on each line, or a .jsonl file with 'text'.")
    ] = None,
    of: Annotated[str, typer.Option("--set", help="Name of the set of queries.")] = "default",
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            help="Pipeline whose hits are judged, of both its stages: a name or a YAML file; repeatable. Default: "
            "bm25_rerank."
        ),
    ] = None,
    depth: Annotated[int, typer.Option(help="So many hits of each stage.", min=1)] = 10,
    blind: Annotated[
        bool, typer.Option("--blind", help="Show the hits in an order that does not tell what ranked them where.")
    ] = False,
    judge: Annotated[
        str | None, typer.Option(help="Whose judgements they are; default: the name of the user.", show_default=False)
    ] = None,
    imported: Annotated[
        Path | None,
        typer.Option("--import", help="Take over the judgements of a BEIR folder whose documents are in the index."),
    ] = None,
    exported: Annotated[
        Path | None, typer.Option("--export", help="Write documents, queries and judgements to a folder in BEIR layout.")
    ] = None,
    embedding_model: EmbeddingModelOption = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help='Read lines of JSON instead of keys, such as {"query": "...", "document_id": "...", "grade": 2}, {"undo": '
            'true}, {"pool": "a query"}, and answer each with a line.',
        ),
    ] = False,
) -> None:
    """
    Judge how relevant the hits of an index are, from 0 (not relevant) to 3 (answers the query), with one key for each.

    Judgements are kept in the index, and outlive indexing its files again. `rerank eval INDEX`, `calibrate INDEX` and `train
    INDEX` use them. Each is on disk before the next hit is shown.
    """
    if isinstance(context.obj, AppOptions):
        context.obj.interrupted = "interrupted; every grade that was given is kept"
    postpone_torch()
    with quiet_libraries():
        from rerank_plugin.judgements.judgements import Judgements

        with closing(Judgements.open(index)) as judgements:
            name = _user() if judge is None else judge
            if queries is not None:
                _add(judgements, queries, of)
            if imported is not None:
                _import(judgements, imported, name, of)
            pool = _Pool(index, pipeline or ["bm25_rerank"], embedding_model, depth=depth, blind=blind)
            if as_json:
                _judge_lines(judgements, name, pool)
            elif (queries is None and imported is None and exported is None) or (queries and sys.stdin.isatty()):
                _judge_in_terminal(judgements, name, pool, of, index)
            if exported is not None:
                _export(judgements, exported)
            echo(f"{judgements.progress()}", err=as_json)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise InvalidValueError("the name of the user is unknown here: say who judges with --judge NAME") from error


class _Pool:
    """Searches with all pipelines, which are loaded when the first query is searched."""

    def __init__(
        self, index: Path, pipelines: Sequence[str], embedding_model: str | None, *, depth: int, blind: bool
    ) -> None:
        self.blind = blind
        self._index, self._pipelines, self._embedding_model, self._depth = index, pipelines, embedding_model, depth
        self._searchers: dict[str, Searcher] = {}

    def __call__(self, query: str) -> "list[PooledHit]":
        from rerank_plugin.judgements.pooling import pool, search_both_stages

        results = {name: search_both_stages(searcher, query, depth=self._depth) for name, searcher in self._opened().items()}
        return pool(query, results, depth=self._depth, blind=self.blind)

    def _opened(self) -> "dict[str, Searcher]":
        from rerank_plugin.pipelines import load_pipeline
        from rerank_plugin.search import Searcher

        for source in self._pipelines if not self._searchers else ():
            searcher = Searcher(load_pipeline(source, index=self._index, embedding_model=self._embedding_model))
            searcher.warm_up()
            self._searchers[Path(source).stem if source.endswith((".yaml", ".yml")) else source] = searcher
        return self._searchers


def _judge_in_terminal(judgements: "Judgements", name: str, pool: _Pool, of: str, index: Path) -> None:
    if not sys.stdin.isatty():
        raise InvalidValueError("judging with keys needs a terminal: pass --json, and lines of JSON instead of keys")
    progress = judgements.progress()
    if of not in {known.name for known in progress.sets}:
        raise InvalidValueError(f"there are no queries in the set {of!r}: pass a file of them with --queries")
    from rerank_plugin.cli.judging_terminal import TerminalJudge
    from rerank_plugin.cli.keyboard import keyboard

    with keyboard() as read_key:
        given = TerminalJudge(judgements, name, pool, pool.blind, read_key).run(judgements.queries(of))
    echo(f"\n{counted(given, 'grade')} given; `rerank eval {index} --split all` compares pipelines on what is judged")


def _judge_lines(judgements: "Judgements", name: str, pool: _Pool) -> None:
    from rerank_plugin.cli.judging_lines import LineJudge

    for answer in LineJudge(judgements, name, pool, pool.blind).answers(sys.stdin):
        echo(to_json(answer))
        sys.stdout.flush()


def _add(judgements: "Judgements", file: Path, of: str) -> None:
    from rerank_plugin.judgements.query_files import read_queries

    found = read_queries(file)
    added = judgements.add_queries(found, to=of)
    echo(f"{added:,} of the {len(found):,} queries in {file} are new in the set {of}", err=True)


def _import(judgements: "Judgements", folder: Path, name: str, of: str) -> None:
    from rerank_plugin.judgements.qrels_import import import_qrels

    done = import_qrels(judgements, folder, judge=name, to=of)
    missing = f"; {counted(done.missing, 'judgement')} left out: not in the index" if done.missing else ""
    echo(f"{counted(done.judgements, 'judgement')} of {done.queries:,} queries imported from {folder}{missing}", err=True)


def _export(judgements: "Judgements", folder: Path) -> None:
    from rerank_plugin.judgements.export import export_collection

    counts = export_collection(judgements, folder)
    echo(
        f"written to {folder}: {counts['documents']:,} documents, {counts['queries']:,} queries, "
        f"{counts['dev']:,} judgements in dev, {counts['test']:,} in test",
        err=True,
    )
