"""The card of an adapted model: the verdict first, then what it learned from."""

import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rerank_plugin import __version__
from rerank_plugin.files import replace_file
from rerank_plugin.training.adapting.lists import LIST_SIZE
from rerank_plugin.training.adapting.request import AdaptRequest
from rerank_plugin.training.adapting.taught import Plan, TaughtList
from rerank_plugin.training.adapting.verdict import JUDGED, PSEUDO, Check, Verdict
from rerank_plugin.training.output.folder import CARD, keep_foreign_card

TEMPLATE = Path(__file__).parent / "card.md.j2"
PACKAGES = ("sentence-transformers", "transformers", "torch")
SAMPLES, SAMPLE_CHARACTERS = 4, 160


def write_adaptation_card(
    *,
    request: AdaptRequest,
    base: str,
    plan: Plan,
    taught: Sequence[TaughtList],
    general: int,
    teachers: Sequence[str],
    share: float,
    checks: Sequence[Check],
    verdict: Verdict,
) -> None:
    """
    Write the card into the model's folder; a README.md of somebody else is renamed.

    :param request: The run.
    :param base: The model that was adapted.
    :param plan: How much was trained.
    :param taught: The lists about the corpus.
    :param general: Number of general lists.
    :param teachers: Names of the models whose opinion was averaged.
    :param share: Weight of the trained model in the average.
    :param checks: What was measured.
    :param verdict: The verdict.
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
    rows = [one.row for one in taught]
    kinds = Counter(row.kind for row in rows).most_common()
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        front_matter=yaml.safe_dump(header, sort_keys=False).strip(),
        name=request.output.resolve().name,
        base=base,
        verdict=verdict,
        checks=checks,
        lists=len(rows),
        list_size=LIST_SIZE,
        epochs=plan.epochs,
        kinds=", ".join(f"{kind} {count:,}" for kind, count in kinds),
        general=general,
        teachers=", ".join(f"`{name}`" for name in teachers),
        share=share,
        samples=[(_cell(row.query), row.kind, _cell(row.passages[0])) for row in rows[:: max(1, len(rows) // SAMPLES)][:SAMPLES]],
        calibrated=JUDGED if any(check.role == JUDGED for check in checks) else PSEUDO,
        versions={"rerank-plugin": __version__, "Python": sys.version.split()[0]}
        | {name: version(name) for name in PACKAGES},
    )
    keep_foreign_card(request.output)
    with replace_file(request.output / CARD) as file:
        file.write(text)


def _cell(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= SAMPLE_CHARACTERS else f"{line[:SAMPLE_CHARACTERS]}..."
