"""`rerank train` and `rerank mine`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerank_plugin.cli import recipe_options as options
from rerank_plugin.cli.app import EmbeddingModelOption, JsonOption, app
from rerank_plugin.cli.printing import echo, to_json
from rerank_plugin.cli.progress import progress_bars, quiet_libraries

if TYPE_CHECKING:
    from rerank_plugin.training.data.checks import DataReport
    from rerank_plugin.training.mining.draw import MiningCounts
    from rerank_plugin.training.mining.rules import MiningRules, RankWindow
    from rerank_plugin.training.run import TrainingSummary

DATA, MEASURE = "Data", "Measuring"

LanguageOption = Annotated[str, typer.Option(help="Language of BM25's stemmer, such as en or ru.", rich_help_panel=DATA)]
SplitOption = Annotated[
    str,
    typer.Option(
        help="Judgements of BEIR folders: qrels/SPLIT.tsv. Of an index, 'train' is its split dev.", rich_help_panel=DATA
    ),
]
LimitOption = Annotated[
    int | None, typer.Option(help="Only the first N judged queries of a BEIR folder.", rich_help_panel=DATA)
]
RanksOption = Annotated[
    list[str] | None,
    typer.Option(
        help="FIRST-LAST:COUNT, negatives per positive from these ranks; repeatable. Default: 1-10:2, 11-60:1.",
        rich_help_panel=DATA,
    ),
]
RandomOption = Annotated[
    int, typer.Option("--random", help="Random negatives per positive, from the whole corpus.", rich_help_panel=DATA)
]


@app.command()
def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Pairs or triples (.jsonl .tsv .csv .parquet, or a folder saved by datasets), folders in BEIR layout, or "
            "indexes with judgements."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model.")],
    preset: Annotated[str | None, typer.Option(help="msmarco-en or msmarco-ru (the published recipes), best.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any of the recipe fields below.")] = None,
    model: options.Model = None,
    loss: options.Loss = None,
    pos_weight: options.PosWeight = None,
    list_size: options.ListSize = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    warmup_ratio: options.WarmupRatio = None,
    weight_decay: options.WeightDecay = None,
    max_grad_norm: options.MaxGradNorm = None,
    max_length: options.MaxLength = None,
    seed: options.Seed = None,
    precision: options.Precision = None,
    freeze_embeddings: options.FreezeEmbeddings = None,
    dropout: options.Dropout = None,
    group_by_length: options.GroupByLength = None,
    logging_steps: options.LoggingSteps = None,
    save_steps: options.SaveSteps = None,
    eval_steps: options.EvalSteps = None,
    patience: options.Patience = None,
    early_exit_layers: options.EarlyExitLayers = None,
    early_exit_width: options.EarlyExitWidth = None,
    report_to: options.ReportTo = None,
    fast: options.Fast = False,
    split: SplitOption = "train",
    language: LanguageOption = "en",
    first_stage: Annotated[
        str, typer.Option(help="Pipeline for negatives and candidates: a name or a YAML file.", rich_help_panel=DATA)
    ] = "bm25",
    ranks: RanksOption = None,
    random_negatives: RandomOption = 1,
    limit: LimitOption = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop faulty pairs instead of stopping.", rich_help_panel=DATA)
    ] = False,
    repair_text: Annotated[
        bool, typer.Option("--repair-text", help="Repair broken encodings (ftfy), such as â€¦ for …", rich_help_panel=DATA)
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(help="A stronger cross-encoder, or a .jsonl file with query, passage and score.", rich_help_panel=DATA),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the data for the model card, such as cc-by-sa-4.0.", rich_help_panel=DATA)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the data and stop.", rich_help_panel=DATA)] = False,
    dev: Annotated[
        str | None,
        typer.Option(
            help="BEIR folder, or FOLDER:SPLIT (default: dev), for choosing the best checkpoint.",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            help="BEIR folder, or FOLDER:SPLIT (default: test), to evaluate at the end; repeatable.", rich_help_panel=MEASURE
        ),
    ] = None,
    dev_queries: Annotated[int, typer.Option(help="Maximum number of queries of --dev.", rich_help_panel=MEASURE)] = 100,
    dev_candidates: Annotated[int, typer.Option(help="Candidates per query during training.", rich_help_panel=MEASURE)] = 30,
    test_queries: Annotated[
        int | None, typer.Option(help="Maximum number of queries of each --test; default: all.", rich_help_panel=MEASURE)
    ] = None,
    candidates: Annotated[int, typer.Option(help="Candidates per query at the end.", rich_help_panel=MEASURE)] = 100,
    stop_after: Annotated[
        int | None, typer.Option(help="Stop at this step as if interrupted; run the same command to resume.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Fine-tune a cross-encoder.

    The data is checked first. For BEIR folders and indexes, negatives are mined with a first stage.

    An interrupted run is resumed when the same command is run again.

    On several GPUs: accelerate launch -m rerank_plugin train ...
    """
    from rerank_plugin.training.recipe.config import make_config

    given = options.RecipeOptions(
        model=model,
        loss=loss,
        pos_weight=pos_weight,
        list_size=list_size,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_ratio=warmup_ratio,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        max_length=max_length,
        seed=seed,
        precision=precision,
        freeze_embeddings=freeze_embeddings,
        dropout=dropout,
        group_by_length=group_by_length,
        logging_steps=logging_steps,
        save_steps=save_steps,
        eval_steps=eval_steps,
        patience=patience,
        early_exit_layers=early_exit_layers,
        early_exit_width=early_exit_width,
        report_to=report_to,
    )
    recipe = make_config(preset, file=config, overrides=given.overrides(fast=fast))
    with quiet_libraries(), progress_bars(hidden=as_json) as on_progress:
        from rerank_plugin.training.mining.rules import MiningRules
        from rerank_plugin.training.recipe.request import Measured, TrainingRequest
        from rerank_plugin.training.run import run_training

        request = TrainingRequest(
            data=tuple(data),
            output=output,
            config=recipe,
            preset=preset,
            split=split,
            language=language,
            first_stage=first_stage,
            rules=MiningRules(windows=_windows(ranks), random=random_negatives, seed=recipe.seed),
            limit=limit,
            drop=drop,
            repair=repair_text,
            teacher=teacher,
            dev=None if dev is None else Measured.parse(dev, split="dev", queries=dev_queries),
            dev_candidates=dev_candidates,
            test=tuple(Measured.parse(text, split="test", queries=test_queries) for text in test or ()),
            candidates=candidates,
            licence=licence,
            stop_after=stop_after,
            dry_run=dry_run,
        )
        summary = run_training(request, on_progress=on_progress, on_report=None if as_json else _show_report)
    if summary is None:
        return
    if as_json:
        echo(to_json(asdict(summary)))
        return
    _show_summary(summary)


@app.command()
def mine(
    collection: Annotated[str, typer.Argument(help="Judged collection: BEIR folder, index with judgements, or irds:ID.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, JSON Lines.")],
    pipeline: Annotated[
        str, typer.Option(help="Pipeline that searches: bm25, dense, hybrid, another name, or a YAML file.")
    ] = "bm25",
    ranks: RanksOption = None,
    random_negatives: RandomOption = 1,
    relative_margin: Annotated[
        float | None,
        typer.Option(help="Drop passages that score above (1 - M) times the lowest relevant passage, such as 0.05."),
    ] = None,
    absolute_margin: Annotated[
        float | None, typer.Option(help="Drop passages that score less than M below the lowest relevant passage.")
    ] = None,
    guard_model: Annotated[
        str | None,
        typer.Option(help="Cross-encoder whose probabilities the margins use instead of the pipeline's scores."),
    ] = None,
    answers: Annotated[bool, typer.Option(help="Drop passages that contain an answer to the query.")] = True,
    near_duplicates: Annotated[
        float,
        typer.Option(help="Drop passages that share this fraction of their trigrams with a relevant one; 0: keep all."),
    ] = 0.8,
    form: Annotated[str, typer.Option("--format", help="pairs, or triples (each positive with its negatives).")] = "pairs",
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 42,
    split: SplitOption = "train",
    language: LanguageOption = "en",
    limit: LimitOption = None,
    index: Annotated[Path | None, typer.Option(help="Index of the collection; default: it is built and cached.")] = None,
    embedding_model: EmbeddingModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Mine hard negatives: passages that a first stage retrieves for judged queries and that are not judged relevant.

    Writes input for `rerank train`. The same seed gives the same file; an interrupted run is resumed.
    """
    from rerank_plugin.evaluation.collection import open_collection
    from rerank_plugin.training.mining.rules import MiningRules

    rules = MiningRules(
        windows=_windows(ranks),
        random=random_negatives,
        relative_margin=relative_margin,
        absolute_margin=absolute_margin,
        answers=answers,
        near_duplicates=near_duplicates or None,
        seed=seed,
    )
    with quiet_libraries(), progress_bars(hidden=as_json) as on_progress:
        from rerank_plugin.progress import counts_of
        from rerank_plugin.training.mining.first_stage import FirstStageSpec
        from rerank_plugin.training.mining.guards import cross_encoder_probabilities
        from rerank_plugin.training.mining.mine import MiningJob
        from rerank_plugin.training.mining.mine import mine as run

        source = open_collection(collection, split=split)
        stage = FirstStageSpec(pipeline, language, index, embedding_model)
        counts = run(
            MiningJob(source, output, rules, stage.key(), guard_model, limit, form),
            lambda: stage.open(source, on_progress),
            rescore=None if guard_model is None else cross_encoder_probabilities(guard_model),
            on_progress=counts_of(on_progress, "Mining"),
        )
    if as_json:
        echo(to_json(counts.as_dict() | {"file": str(output)}))
        return
    _show_counts(counts, rules, title=f"{source.name}, {source.split}")
    echo(f"written to {output}")


def _windows(ranks: list[str] | None) -> "tuple[RankWindow, ...]":
    from rerank_plugin.training.mining.rules import DEFAULT_WINDOWS, RankWindow

    return tuple(RankWindow.parse(text) for text in ranks) if ranks else DEFAULT_WINDOWS


def _show_report(report: "DataReport") -> None:
    from rerank_plugin.cli.tables import show_facts

    show_facts({"training data": report.lines()})


def _show_summary(summary: "TrainingSummary") -> None:
    total = f" of {summary.total_steps}" if summary.steps < summary.total_steps else ""
    echo(f"{summary.steps}{total} steps on {summary.pairs} pairs, last loss {summary.loss}: {summary.model}")
    if summary.replaced:
        echo(f"files of an earlier model, removed or renamed: {', '.join(summary.replaced)}")
    for name, values in summary.figures.items():
        echo(f"nDCG@10 on {name}: " + ", ".join(f"{stage} {value:.3f}" for stage, value in values.items()))


def _show_counts(counts: "MiningCounts", rules: "MiningRules", *, title: str) -> None:
    from rerank_plugin.cli.tables import show_facts

    facts: dict[str, Any] = {"queries": counts.queries, "positives": counts.positives}
    facts |= {f"negatives, {source}": number for source, number in counts.negatives.items()}
    facts |= {f"left out by the guard: {guard}": number for guard, number in counts.left_out.items()}
    if rules.has_margin:
        facts["queries without a margin: no relevant passage was found"] = counts.without_margin
    facts["queries with fewer negatives than wanted"] = counts.short
    show_facts({title: facts})
