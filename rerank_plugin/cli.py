"""The command line `rerank`. Nothing heavy is imported before a command runs, so that `--help` answers at once."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_plugin import __version__
from rerank_plugin.errors import InvalidValueError, RerankError
from rerank_plugin.terminal import progress_bar, quiet_libraries

app = typer.Typer(
    name="rerank",
    help="Two-stage search: BM25 or FAISS retrieves, a cross-encoder reranks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_INDEX = Path("index")

IndexOption = Annotated[Path, typer.Option("--index", help="Folder of the index.", show_default=True)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
EmbeddingModelOption = Annotated[
    str | None,
    typer.Option("--embedding-model", help="Hub id or folder of the bi-encoder, instead of the pipeline's own."),
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"rerank {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = debug


@app.command()
def index(
    paths: Annotated[
        list[Path], typer.Argument(help="Files (.txt .md .html .pdf, .jsonl in BEIR form) and folders of them.")
    ],
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[
        str, typer.Option(help="Indexing pipeline: 'indexing', 'indexing_keyword' (no embeddings), or a YAML file.")
    ] = "indexing",
    language: Annotated[
        str | None,
        typer.Option(help="Language of the keyword index, such as en or ru; by default the index's own, else en."),
    ] = None,
    embedding_model: EmbeddingModelOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Drop passages of files that are gone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """
    Index files: convert, split, embed, store.

    Unchanged files are skipped, changed ones replaced; an interrupted run goes on where it broke off.
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
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(vars(report), ensure_ascii=False))
    else:
        pruned = f", {report.pruned} pruned" if prune else ""
        typer.echo(
            f"{report.passages} passages of {report.files} files written to {index}; "
            f"{report.unchanged} files unchanged{pruned}"
        )
    for failure in report.failed:
        typer.echo(f"error: {failure}", err=True)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[
        str, typer.Option(help="bm25, dense, hybrid, each also with _rerank, or a YAML file.")
    ] = "bm25_rerank",
    top_k: Annotated[int | None, typer.Option(help="Hits to show, if other than the pipeline says (10).")] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Candidates of the first stage, if other than the pipeline says (100).")
    ] = None,
    filters: Annotated[str | None, typer.Option(help="Haystack filters, as JSON.")] = None,
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Search an index and show how the second stage moved each hit.

    With a reranking pipeline the table shows old rank and old score beside the new ones.
    """
    parsed = _parse_filters(filters)
    with quiet_libraries():
        from rerank_plugin.pipelines import load_pipeline
        from rerank_plugin.search import Searcher

        searcher = Searcher(load_pipeline(pipeline, index=index, embedding_model=embedding_model))
        searcher.warm_up()
        result = searcher.search(query, top_k=top_k, candidates=candidates, filters=parsed, sentences=True)

    from rerank_plugin.display import hits_as_json, show_hits

    if as_json:
        typer.echo(json.dumps(hits_as_json(query, result), ensure_ascii=False))
    else:
        show_hits(result, has_second_stage=searcher.has_second_stage)


@app.command("eval")
def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Collection in BEIR layout, indexed before with `rerank index`.")],
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[
        list[str] | None, typer.Option(help="Name or YAML file; repeat it to compare; without it bm25 and bm25_rerank.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which judgements: qrels/SPLIT.tsv.")] = "test",
    lang: Annotated[str | None, typer.Option(help="Only queries whose metadata has this 'lang'.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N judged queries.")] = None,
    candidates: Annotated[int, typer.Option(help="Candidates of the first stage.")] = 100,
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure pipelines side by side: nDCG@10, RR@10, R@100, and milliseconds a query."""
    from rerank_plugin.evaluation.dataset import judged_queries

    queries, qrels = judged_queries(dataset, split=split, lang=lang, limit=limit)
    results = {}
    for name in pipeline or ["bm25", "bm25_rerank"]:
        with quiet_libraries(), progress_bar(name, hidden=as_json) as progress:
            from rerank_plugin.evaluation.evaluate import evaluate_pipeline
            from rerank_plugin.pipelines import load_pipeline
            from rerank_plugin.search import Searcher

            searcher = Searcher(load_pipeline(name, index=index, embedding_model=embedding_model))
            searcher.warm_up()
            results[name] = evaluate_pipeline(
                searcher,
                queries,
                qrels,
                depth=candidates,
                progress=lambda done, report=progress: report(done, len(queries)),  # type: ignore[misc]
            )

    from rerank_plugin.display import evaluations_as_json, show_evaluations

    if as_json:
        typer.echo(json.dumps(evaluations_as_json(results, queries=len(queries))))
    else:
        show_evaluations(results, title=f"{dataset.name}, {split}: {len(queries)} queries, {candidates} candidates")


@app.command()
def train(
    data: Annotated[list[Path], typer.Argument(help="Labelled pairs (.jsonl .tsv .csv) or folders in BEIR layout.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model.")],
    model: Annotated[
        str, typer.Option(help="Encoder or cross-encoder to start from: Hub id or folder.")
    ] = "cross-encoder/ms-marco-MiniLM-L6-v2",
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 3.0,
    batch_size: Annotated[int, typer.Option(help="Pairs in a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak of the linear schedule.")] = 5e-5,
    max_length: Annotated[int, typer.Option(help="Tokens of a pair while training.")] = 512,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 42,
    split: Annotated[str, typer.Option(help="Which judgements of BEIR folders.")] = "train",
    language: Annotated[str, typer.Option(help="Language of BM25's stemmer for the negatives, such as en or ru.")] = "en",
    limit: Annotated[int | None, typer.Option(help="Most queries from each BEIR folder.")] = None,
    save_steps: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = 500,
    fast: Annotated[
        bool, typer.Option("--fast", help="CPU fast path: bf16, batches of like length, frozen embeddings, no dropout.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """
    Fine-tune a cross-encoder with binary cross-entropy; the defaults are the published recipe.

    BEIR folders give their judged passages as positives and BM25's finds as negatives.

    An interrupted run goes on from its last checkpoint when it is started again.
    """
    from rerank_plugin.training.config import TrainingConfig
    from rerank_plugin.training.recipe import TrainingData, gather_pairs
    from rerank_plugin.training.train import train_and_save

    config = TrainingConfig(
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=max_length,
        seed=seed,
        save_steps=save_steps,
        fast=fast,
    )
    sources = TrainingData(paths=tuple(data), split=split, language=language, limit=limit, seed=seed)
    summary = train_and_save(gather_pairs(sources), config, output, sources=sources)
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{summary['steps']} steps on {summary['pairs']} pairs, last loss {summary['loss']}: {output}")


@app.command()
def calibrate(
    dataset: Annotated[Path, typer.Argument(help="Judged collection in BEIR layout, indexed before with `rerank index`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default calibration.json in the model's folder.")
    ] = None,
    index: IndexOption = DEFAULT_INDEX,
    pipeline: Annotated[str, typer.Option(help="A pipeline with a ranker: its name, or a YAML file.")] = "bm25_rerank",
    split: Annotated[str, typer.Option(help="Which judgements: qrels/SPLIT.tsv. Not those that you report on.")] = "dev",
    lang: Annotated[str | None, typer.Option(help="Only queries whose metadata has this 'lang'.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N judged queries.")] = None,
    candidates: Annotated[int, typer.Option(help="Candidates of the first stage.")] = 100,
    method: Annotated[str, typer.Option(help="'platt' (slope and offset) or 'temperature' (slope only).")] = "platt",
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Fit a model's scores on judged queries: probabilities, fusion weights, and when to stop scoring.

    CrossEncoderRanker finds the file in the model's folder by itself; of one elsewhere it is told by its parameter
    `calibration`.
    """
    from rerank_plugin.evaluation.dataset import judged_queries

    queries, qrels = judged_queries(dataset, split=split, lang=lang, limit=limit)
    with quiet_libraries(), progress_bar("Scoring", hidden=as_json) as progress:
        from rerank_plugin.evaluation.calibrate import calibrate as fit
        from rerank_plugin.evaluation.calibrate import calibration_file
        from rerank_plugin.evaluation.candidates import score_candidates
        from rerank_plugin.pipelines import load_pipeline

        loaded = load_pipeline(pipeline, index=index, embedding_model=embedding_model)
        file = calibration_file(loaded, output)
        judged = score_candidates(
            loaded, queries, qrels, depth=candidates, progress=lambda done: progress(done, len(queries))
        )
    source = {"dataset": dataset.name, "split": split, "pipeline": pipeline, "candidates": candidates}
    report = fit(judged, method=method, source=source)
    report.calibration.save(file)
    if as_json:
        typer.echo(json.dumps({**report.lines, "file": str(file)}))
        return
    from rerank_plugin.display import show_facts

    show_facts({f"{dataset.name}, {split}": report.lines})
    typer.echo(f"written to {file}")


@app.command()
def bench(
    dataset: Annotated[
        Path | None, typer.Argument(help="Judged collection in BEIR layout; by default the sample corpus.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for table, JSON and picture.")] = Path("bench"),
    model: Annotated[str, typer.Option(help="Cross-encoder: bundled name, folder or Hub id.")] = "minilm-l6-en",
    system: Annotated[
        list[str] | None,
        typer.Option(help="stock, flashrank, or BACKEND:PRECISION; repeat it. The others are compared with the first."),
    ] = None,
    case: Annotated[list[str] | None, typer.Option(help="CANDIDATESxTOKENS or CANDIDATESxFROM-TO; repeat it.")] = None,
    rounds: Annotated[int, typer.Option(help="Calls of each case.")] = 9,
    queries: Annotated[int, typer.Option(help="Judged queries for the quality; 0 leaves it out.")] = 50,
    split: Annotated[str, typer.Option(help="Which judgements: qrels/SPLIT.tsv.")] = "test",
    memory: Annotated[str | None, typer.Option(help="Case whose peak memory is measured, such as 1000x512.")] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Measure rerankers side by side: the stock ranker, this one in several precisions, FlashRank; same model, same pairs.

    They take turns call by call. Speed is that of medians, against the first system.
    """
    with quiet_libraries(), progress_bar("Measuring", hidden=as_json) as progress:
        from rerank_plugin.evaluation.bench.command import measure_and_report

        found = measure_and_report(
            dataset,
            output,
            model=model,
            systems=system,
            cases=case,
            rounds=rounds,
            queries=queries,
            split=split,
            memory=memory,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(found))
        return
    from rerank_plugin.display import show_rows

    show_rows(found)


@app.command()
def doctor(
    index: Annotated[Path | None, typer.Option("--index", help="Look at this index too; measures its recall.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is installed, what would be used, and how an index is."""
    from rerank_plugin.display import show_facts
    from rerank_plugin.doctor import examine_index, examine_installation

    with quiet_libraries():
        found = {"installation": examine_installation()}
        if index is not None:
            found["index"] = examine_index(index)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        show_facts(found)


def main() -> None:
    """Run the command line; a user's mistake becomes one line and exit status 1."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except RerankError as error:
        _fail(str(error), debug=debug)
    except KeyboardInterrupt:
        _fail("interrupted; what was written stays, start the command again to go on", debug=debug)
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a line instead of a traceback
        _fail(
            f"{type(error).__name__}: {' '.join(str(error).split())}  (run `rerank --debug ...` for details)",
            debug=debug,
        )


def _fail(message: str, *, debug: bool) -> None:
    if debug:
        raise  # noqa: PLE0704 - called from the except clauses of main
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)


def _parse_filters(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        filters = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidValueError(f"--filters is not valid JSON ({error.msg} at column {error.colno}): {text}") from None
    if not isinstance(filters, dict):
        raise InvalidValueError(
            f'--filters must be an object such as {{"field": "meta.lang", "operator": "==", "value": "en"}}, got {text}'
        )
    return filters
