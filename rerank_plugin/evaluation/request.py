"""The options of `rerank eval` and `rerank eval --sweep`, checked before anything is read."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rerank_plugin.checks import check_count, shown
from rerank_plugin.errors import InvalidValueError, PipelineConfigError
from rerank_plugin.evaluation.measures import DEFAULT_MEASURES, check_measures
from rerank_plugin.pipelines import pipeline_names

DEFAULT_PIPELINES = ("bm25", "bm25_rerank")
YAML = (".yaml", ".yml")
# Maximum bytes of a system's name, so that it can be a file name with an extension.
LONGEST_NAME = 200
# Path separators, and characters that other operating systems do not allow in file names.
NOT_IN_NAMES = frozenset('/\\:*?"<>|')


@dataclass(frozen=True)
class EvalRequest:
    """
    What to evaluate.

    :param dataset: Folder in BEIR layout or `irds:ID`; `None`: only runs, against `qrels`.
    :param pipelines: Names or YAML files.
    :param runs: Run files, by the name of the run in reports.
    :param qrels: A file with judgements, used instead of the collection's.
    :param index: Folder of an index; `None`: one is built for each language, and kept.
    :param split: Split of the collection's judgements.
    :param language: Only queries and documents whose metadata has this `lang`, or none, or `all`; also the language of the
        keyword index. `None`: the `lang` of the first query, else English.
    :param limit: Maximum number of queries; `None`: all.
    :param candidates: Depth of the first stage, and length of the rankings.
    :param measures: Names in the notation of ir-measures; the first one is plotted.
    :param baseline: The system that all others are compared with; `None`: the first, and for each pipeline with two stages
        also its own first stage.
    :param embedding_model: Embedding model to use instead of the pipelines'.
    :param output: Folder for answers and report; `None`: nothing is kept.
    """

    dataset: str | None
    pipelines: Sequence[str] = DEFAULT_PIPELINES
    runs: Mapping[str, Path] = field(default_factory=dict)
    qrels: Path | None = None
    index: Path | None = None
    split: str = "test"
    language: str | None = None
    limit: int | None = None
    candidates: int = 100
    measures: Sequence[str] = DEFAULT_MEASURES
    baseline: str | None = None
    embedding_model: str | None = None
    output: Path | None = None

    @property
    def systems(self) -> list[str]:
        """Names of all systems: pipelines (if there is a collection), then runs."""
        return [*(map(pipeline_name, self.pipelines) if self.dataset else ()), *self.runs]


def check_request(request: EvalRequest) -> None:
    """
    Check everything that can be checked without reading a file.

    :param request: The request.
    :raises InvalidValueError: If there is nothing to evaluate, or a name, a number or a measure is invalid.
    :raises PipelineConfigError: If a pipeline does not exist.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    check_measures(request.measures)
    check_count("candidates", request.candidates)
    if request.limit is not None:
        check_count("limit", request.limit)
    for source in request.pipelines if request.dataset else ():
        if not source.endswith(YAML) and source not in pipeline_names():
            raise PipelineConfigError(
                f"unknown pipeline {shown(source)}: choose one of {pipeline_names()}, or give the path of a .yaml file"
            )
    names = request.systems
    if not names:
        raise InvalidValueError("nothing to evaluate: give a collection, or runs (--run) and judgements (--qrels)")
    check_system_names(names)
    if request.baseline is not None and request.baseline not in names:
        raise InvalidValueError(f"unknown baseline {shown(request.baseline)}: choose one of {names}")
    if request.dataset is None and request.qrels is None:
        raise InvalidValueError("runs are evaluated against judgements: pass the file with --qrels")


def check_system_names(names: Iterable[str]) -> None:
    """
    Check that names can be displayed, and used as file names on any operating system.

    :param names: Names of pipelines and runs.
    :raises InvalidValueError: If one is empty, too long, or has forbidden characters, or if two are the same name; names
        that differ only in case or in the encoding of accents are the same to some file systems.
    """
    known: dict[str, str] = {}
    for name in names:
        if not name.strip(". "):
            raise InvalidValueError(f"{shown(name)} is not a name for a system: give it one, as in --run NAME=FILE")
        bad = [character for character in name if not character.isprintable() or character in NOT_IN_NAMES]
        if bad:
            raise InvalidValueError(
                f"the name {shown(name)} of a system has the character {bad[0]!r}: results are written to files of that "
                "name; use letters, digits, spaces, dots, dashes and underscores"
            )
        if len(name.encode()) > LONGEST_NAME:
            raise InvalidValueError(f"the name {shown(name)} of a system is too long: use at most {LONGEST_NAME} bytes")
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in known:
            raise InvalidValueError(
                f"two systems have the same name, {shown(known[folded])} and {shown(name)}: give them names that differ in "
                "more than case (NAME=FILE for a run, another file name for a pipeline)"
            )
        known[folded] = name


def pipeline_name(source: str) -> str:
    """Return a pipeline's name in reports: its own, or that of its YAML file without the extension."""
    return Path(source).stem if source.endswith(YAML) else source
