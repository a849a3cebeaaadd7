"""The card of a trained model: its training data and settings, its gain, and how to use it."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rerank_plugin import __version__
from rerank_plugin.files import replace_file
from rerank_plugin.training.data.checks import DataReport
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.fitting.dev import FIRST_STAGE, MODEL, measurements
from rerank_plugin.training.fitting.train import TrainingResult
from rerank_plugin.training.output.folder import CARD, keep_foreign_card
from rerank_plugin.training.output.measure import Figure
from rerank_plugin.training.recipe.request import TrainingRequest

TEMPLATE = Path(__file__).parent / "card.md.j2"
PACKAGES = ("sentence-transformers", "transformers", "torch", "accelerate", "datasets", "tokenizers")
SAMPLES, SAMPLE_CHARACTERS = 3, 240
# Training loss of the published models at the first and last step in their cards.
PUBLISHED = {"msmarco-en": {500: 0.1718, 58_000: 0.0522}, "msmarco-ru": {500: 0.4384, 7_500: 0.0894}}


def write_card(
    *,
    request: TrainingRequest,
    report: DataReport,
    samples: Sequence[LabelledPair],
    result: TrainingResult,
    figures: Sequence[Figure],
) -> str | None:
    """
    Write the card of a run to the model's folder; for the parameters see `model_card`.

    :returns: The new name of a README.md that was not written by a training run; `None` if there was none.
    """
    text = model_card(request=request, report=report, samples=samples, result=result, figures=figures)
    kept = keep_foreign_card(request.output)
    with replace_file(request.output / CARD) as file:
        file.write(text)
    return kept


def model_card(
    *,
    request: TrainingRequest,
    report: DataReport,
    samples: Sequence[LabelledPair],
    result: TrainingResult,
    figures: Sequence[Figure],
) -> str:
    """
    Return the text of a card.

    :param request: The run.
    :param report: Statistics and problems of its data.
    :param samples: The pairs, a few of which are shown.
    :param result: Steps and log.
    :param figures: The evaluation of the finished model.
    :returns: Markdown, with the front matter for the Hub.
    """
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: escaping would corrupt it.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    published = PUBLISHED.get(request.preset or "", {})
    losses = {entry["step"]: (entry["epoch"], entry["loss"]) for entry in result.losses}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        front_matter=_front_matter(request, figures),
        name=request.output.name,
        base=request.config.model,
        request=request,
        report=report.lines(),
        samples=[_sample(pair) for pair in _different(samples)],
        hyperparameters=request.config.as_dict(),
        result=result,
        log=[(step, *losses.get(step, (None, None)), published.get(step)) for step in sorted({*losses, *published})],
        published=published,
        measured=measurements(result.log),
        figures=figures,
        first=FIRST_STAGE,
        model=MODEL,
        versions={"rerank-plugin": __version__, "Python": sys.version.split()[0]}
        | {name: version(name) for name in PACKAGES},
    )


def _front_matter(request: TrainingRequest, figures: Sequence[Figure]) -> str:
    import yaml

    data: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "text-ranking",
        "tags": ["sentence-transformers", "cross-encoder", "reranker", "rerank-plugin", f"loss:{request.config.loss}"],
        "language": request.language,
    }
    if request.licence:
        data["license"] = request.licence
    if "/" in request.config.model and not Path(request.config.model).exists():
        data["base_model"] = request.config.model  # the Hub accepts only its own names
    if figures:
        data["model-index"] = [{"name": request.output.name, "results": [_result(figure) for figure in figures]}]
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10_000)).strip()


def _result(figure: Figure) -> dict[str, Any]:
    return {
        "task": {"type": "text-ranking", "name": "Reranking"},
        "dataset": {"name": figure.name, "type": "beir"},
        "metrics": [{"type": "ndcg@10", "name": "nDCG@10", "value": round(figure.ndcg[MODEL].mean, 4)}],
    }


def _different(pairs: Sequence[LabelledPair]) -> list[LabelledPair]:
    """Take a few pairs of distinct queries from beginning, middle and end, after one with the highest label."""
    best = max(pairs, key=lambda pair: pair.label)
    chosen = [best, *(pairs[position * (len(pairs) - 1) // SAMPLES] for position in range(1, SAMPLES + 1))]
    return list({pair.query: pair for pair in reversed(chosen)}.values())[::-1][:SAMPLES]


def _sample(pair: LabelledPair) -> tuple[str, str, str]:
    passage = " ".join(pair.passage.split())
    passage = passage if len(passage) <= SAMPLE_CHARACTERS else f"{passage[:SAMPLE_CHARACTERS]}..."
    return " ".join(pair.query.split()).replace("|", "\\|"), passage.replace("|", "\\|"), f"{pair.label:g}"
