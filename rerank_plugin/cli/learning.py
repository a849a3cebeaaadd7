"""`rerank train`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rerank_plugin.cli.app import JsonOption, app


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
