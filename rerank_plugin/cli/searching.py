"""The commands `rerank index` and `rerank search`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerank_plugin.checks import shown
from rerank_plugin.cli.app import DEFAULT_INDEX, AppOptions, EmbeddingModelOption, IndexOption, JsonOption, app
from rerank_plugin.cli.indexing_progress import indexing_progress, interruption_message
from rerank_plugin.cli.lazy_torch import postpone_torch
from rerank_plugin.cli.printing import counted, echo, printable, to_json
from rerank_plugin.cli.progress import progress_bar, quiet_libraries
from rerank_plugin.errors import InvalidValueError

if TYPE_CHECKING:
    from rerank_plugin.indexing import IndexReport

# More files are counted, not named.
_SHOWN_FILES = 5


@app.command()
def index(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: text, Markdown, reStructuredText, HTML, PDF, CSV, EPUB, notebooks, e-mail, .jsonl in "
            "BEIR format; Word, PowerPoint and Excel with the extra 'office'."
        ),
    ],
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[
        str,
        typer.Option(
            help="Indexing pipeline: 'indexing', 'indexing_keyword' (no embeddings), 'indexing_qdrant' or that of another "
            "database, or a YAML file."
        ),
    ] = "indexing",
    language: Annotated[
        str | None,
        typer.Option(help="Language of the keyword index, such as en or ru; default: that of the existing index, else en."),
    ] = None,
    embedding_model: EmbeddingModelOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Drop the passages of files that no longer exist.")] = False,
    repair_text: Annotated[
        bool, typer.Option("--repair-text", help="Repair broken encodings (ftfy), such as â€¦ for an ellipsis.")
    ] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another run on the same index to end; 0 to fail at once.", min=0)
    ] = 600.0,
    as_json: JsonOption = False,
) -> None:
    """
    Index files: convert, split, embed, store.

    Unchanged files are skipped, changed ones replaced; an interrupted run is resumed.
    A passage that occurs several times is stored once: its meta is that of the first place, also_in lists the others.
    Only one run at a time may index into an index; searches are not blocked.
    A pipeline may write into another database. --index is then a folder for the record of what was indexed; by default
    that is kept in your data folder.
    """
    folder: Path | None = index
    try:
        with (
            progress_bar("Indexing", hidden=as_json) as bar,  # first: importing the libraries takes seconds
            quiet_libraries(),
            indexing_progress(bar) as progress,
        ):
            from rerank_plugin.indexing import index_paths, is_for_another_store

            if not _is_given(context, "index") and is_for_another_store(pipeline):
                folder = None
            report = index_paths(
                paths,
                folder,
                pipeline=pipeline,
                language=language,
                embedding_model=embedding_model,
                prune=prune,
                repair=repair_text,
                progress=progress,
                wait=wait,
                on_report=lambda text: echo(printable(text), err=True),
            )
    except KeyboardInterrupt:
        if isinstance(context.obj, AppOptions):
            context.obj.interrupted = interruption_message(pipeline, folder)
        raise
    if as_json:
        echo(to_json(vars(report)))
    else:
        pruned = f", {report.pruned} pruned" if prune else ""
        pruned += f"; {counted(report.repaired, 'text')} repaired" if repair_text else ""
        echo(
            f"{counted(report.passages, 'passage')} of {counted(report.files, 'file')} written to {report.target}"
            f"{_merged(report.merged)}; {counted(report.unchanged, 'file')} unchanged{pruned}"
        )
    for line in _remarks(report):
        echo(line, err=True)
    for failure in report.failed:
        echo(f"error: {printable(failure)}", err=True)
    if report.is_empty:
        places = ", ".join(printable(path) for path in paths)
        echo(f"error: nothing to index in {places}: no file has a type that `rerank index --help` names", err=True)
    if report.failed or report.is_empty:
        raise typer.Exit(1)


def _merged(count: int) -> str:
    if not count:
        return ""
    return ", 1 of them is a duplicate, stored once" if count == 1 else f", {count:,} of them are duplicates, stored once"


def _remarks(report: "IndexReport") -> Iterator[str]:
    """Yield a line for everything that was skipped or assumed."""
    for skipped in report.skipped:
        yield f"skipped: {printable(skipped)}"
    if report.skipped_types:
        yield f"skipped: {_by_type(report.skipped_types)} (types that cannot be indexed)"
    if report.missing_extra:
        yield f"skipped: {_by_type(report.missing_extra)} (pip install 'rerank-plugin[office]' reads them)"
    for encoding, sources in report.assumed_encodings.items():
        if len(sources) <= _SHOWN_FILES:
            files = ", ".join(printable(source) for source in sources)
        else:
            files = f"{len(sources)} files (--json names them)"
        yield f"assumed: {encoding} as the encoding of {files}"


def _by_type(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {printable(suffix) or 'without an extension'}" for suffix, count in counts.items())


@app.command()
def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="Text to search for.")],
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[
        str, typer.Option(help="bm25, dense or hybrid, each also as ..._rerank, or a YAML file.")
    ] = "bm25_rerank",
    top_k: Annotated[int | None, typer.Option(help="Number of hits to show; default: that of the pipeline (10).")] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Number of first-stage candidates; default: that of the pipeline (100).")
    ] = None,
    filters: Annotated[
        str | None,
        typer.Option(help='Haystack filters as JSON, such as {"field": "meta.lang", "operator": "==", "value": "en"}.'),
    ] = None,
    collapse: Annotated[
        bool | None,
        typer.Option(
            "--collapse/--no-collapse",
            help="Leave out near duplicates of a better hit, which then says where else the text stands; default: as in the "
            "pipeline (the packaged ones that rerank do).",
        ),
    ] = None,
    max_per_source: Annotated[
        int | None,
        typer.Option(help="Maximum number of hits of one file; default: that of the pipeline (no limit).", metavar="N"),
    ] = None,
    embedding_model: EmbeddingModelOption = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Let a `rerank serve` search its index, with its pipelines; RERANK_SERVER_KEY has its key.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Search an index, and show how the second stage moved each hit.

    Each hit has its title, its file with page or section, and the sentence that answers the query best. With a reranking
    pipeline, the rank and score of the first stage are shown next to the final ones.
    """
    if isinstance(context.obj, AppOptions):
        context.obj.interrupted = "interrupted"  # there is nothing to keep or to go on with
    parsed = _parse_filters(filters)
    postpone_torch()
    if server is not None:
        if _is_given(context, "index") or embedding_model is not None:
            raise InvalidValueError("--server searches an index of its own: leave out --index and --embedding-model")
        _search_by_server(
            server,
            {
                "query": query,
                "pipeline": pipeline if _is_given(context, "pipeline") else None,
                "top_k": top_k,
                "candidates": candidates,
                "filters": parsed,
                "highlights": True,
                "collapse": collapse,
                "max_per_source": max_per_source,
            },
            as_json=as_json,
        )
        return
    with quiet_libraries():
        from rerank_plugin.pipelines import load_pipeline
        from rerank_plugin.search import Searcher

        loaded = load_pipeline(pipeline, index=index, embedding_model=embedding_model)
        searcher = Searcher(loaded, name=f"pipeline {pipeline}")
        searcher.warm_up()
        result = searcher.search(
            query,
            top_k=top_k,
            candidates=candidates,
            filters=parsed,
            sentences=True,
            collapse=collapse,
            max_per_source=max_per_source,
        )

    from rerank_plugin.cli.hits import show_hits
    from rerank_plugin.results import hits_as_json

    if as_json:
        echo(to_json(hits_as_json(query, result)))
    else:
        show_hits(result, has_second_stage=searcher.has_second_stage)


def _is_given(context: typer.Context, name: str) -> bool:
    """Return whether the user gave an option, so that its value is not the default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _search_by_server(server: str, request: dict[str, Any], *, as_json: bool) -> None:
    from rerank_plugin.cli.remote import VARIABLE, result_of, search_by_server

    answer = search_by_server(server, os.environ.get(VARIABLE), request)
    if as_json:
        echo(to_json(answer))
        return
    with quiet_libraries():
        result = result_of(answer)
    from rerank_plugin.cli.hits import show_hits

    show_hits(result, has_second_stage=answer["status"] is not None)


def _parse_filters(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        filters = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidValueError(
            f"--filters is not valid JSON ({error.msg} at column {error.colno}): {shown(text)}"
        ) from None
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or thousands of levels
        raise InvalidValueError(f"--filters cannot be read ({error}): {shown(text)}") from None
    if not isinstance(filters, dict):
        raise InvalidValueError(
            '--filters must be an object such as {"field": "meta.lang", "operator": "==", "value": "en"}, '
            f"got {shown(text)}"
        )
    return filters
