"""The commands `rerank index` and `rerank search`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_plugin.checks import shown
from rerank_plugin.cli.app import DEFAULT_INDEX, EmbeddingModelOption, IndexOption, JsonOption, app
from rerank_plugin.cli.lazy_torch import postpone_torch
from rerank_plugin.cli.printing import echo, printable, to_json
from rerank_plugin.cli.progress import progress_bar, quiet_libraries
from rerank_plugin.errors import InvalidValueError


@app.command()
def index(
    paths: Annotated[
        list[Path], typer.Argument(help="Files (.txt .md .html .pdf, .jsonl in BEIR format) and folders of them.")
    ],
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[
        str, typer.Option(help="Indexing pipeline: 'indexing', 'indexing_keyword' (no embeddings), or a YAML file.")
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
    Only one run at a time may index into an index; searches are not blocked.
    """
    with quiet_libraries(), progress_bar("Indexing", hidden=as_json) as progress:
        from rerank_plugin.indexing import index_paths

        report = index_paths(
            paths,
            index,
            pipeline=pipeline,
            language=language,
            embedding_model=embedding_model,
            prune=prune,
            repair=repair_text,
            progress=progress,
            wait=wait,
            on_report=lambda text: echo(printable(text), err=True),
        )
    if as_json:
        echo(to_json(vars(report)))
    else:
        pruned = f", {report.pruned} pruned" if prune else ""
        pruned += f"; {report.repaired} texts repaired" if repair_text else ""
        echo(
            f"{report.passages} passages of {report.files} files written to {index}; "
            f"{report.unchanged} files unchanged{pruned}"
        )
    for skipped in report.skipped:
        echo(f"skipped: {printable(skipped)}", err=True)
    for failure in report.failed:
        echo(f"error: {printable(failure)}", err=True)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def search(
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
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Search an index, and show how the second stage moved each hit.

    With a reranking pipeline the table shows the first-stage rank and score next to the final ones.
    """
    parsed = _parse_filters(filters)
    postpone_torch()
    with quiet_libraries():
        from rerank_plugin.pipelines import load_pipeline
        from rerank_plugin.search import Searcher

        searcher = Searcher(load_pipeline(pipeline, index=index, embedding_model=embedding_model))
        searcher.warm_up()
        result = searcher.search(query, top_k=top_k, candidates=candidates, filters=parsed, sentences=True)

    from rerank_plugin.cli.tables import hits_as_json, show_hits

    if as_json:
        echo(to_json(hits_as_json(query, result)))
    else:
        show_hits(result, has_second_stage=searcher.has_second_stage)


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
