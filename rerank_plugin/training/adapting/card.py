"""The card of an adapted model: the verdict first, then what it learned from."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rerank_plugin import __version__
from rerank_plugin.files import replace_file
from rerank_plugin.training.adapting.lists import LIST_SIZE, CandidateList
from rerank_plugin.training.adapting.request import AdaptRequest
from rerank_plugin.training.adapting.taught import Plan, TaughtList
from rerank_plugin.training.adapting.verdict import Check, Verdict
from rerank_plugin.training.output.folder import CARD, keep_foreign_card

TEMPLATE = Path(__file__).parent / "card.md.j2"
PACKAGES = ("sentence-transformers", "transformers", "torch")
SAMPLES, SAMPLE_CHARACTERS = 4, 160


@dataclass(frozen=True)
class Story:
    """
    How a model was adapted, for its card.

    :param base: The model that was adapted.
    :param plan: How much was trained.
    :param taught: The lists about the corpus.
    :param general: Number of general lists.
    :param teachers: Names of the models that were asked.
    :param share: Weight of the trained model in the average.
    :param calibrated: What the calibration was fitted on, or why there is none.
    :param checks: What was measured.
    :param verdict: The verdict.
    """

    base: str
    plan: Plan
    taught: Sequence[TaughtList]
    general: int
    teachers: Sequence[str]
    share: float
    calibrated: str
    checks: Sequence[Check]
    verdict: Verdict


def write_adaptation_card(request: AdaptRequest, story: Story) -> None:
    """
    Write the card into the model's folder; a README.md of somebody else is renamed.

    :param request: The run.
    :param story: What came of it.
    """
    import yaml
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: escaping would corrupt it.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    header: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "text-ranking",
        "tags": ["cross-encoder", "reranker", "rerank-plugin"],
        "language": request.language,
    }
    rows = [one.row for one in story.taught]
    kinds = Counter(row.kind for row in rows).most_common()
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        front_matter=yaml.safe_dump(header, sort_keys=False).strip(),
        name=request.output.resolve().name,
        story=story,
        lists=len(rows),
        list_size=LIST_SIZE,
        kinds=", ".join(f"{kind} {count:,}" for kind, count in kinds),
        teachers=", ".join(
            f"`{name}` ({weight:.2f})" for name, weight in zip(story.teachers, story.plan.weights, strict=True)
        ),
        samples=[(_cell(row.query), row.kind, _cell(row.passages[0])) for row in _some(rows)],
        versions={"rerank-plugin": __version__, "Python": sys.version.split()[0]}
        | {name: version(name) for name in PACKAGES},
    )
    keep_foreign_card(request.output)
    with replace_file(request.output / CARD) as file:
        file.write(text)


def _some(rows: Sequence[CandidateList]) -> Sequence[CandidateList]:
    return rows[:: max(1, len(rows) // SAMPLES)][:SAMPLES]


def _cell(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= SAMPLE_CHARACTERS else f"{line[:SAMPLE_CHARACTERS]}..."
