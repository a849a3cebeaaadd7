"""The lists of a run: the ensemble is asked about one after the other, and they are kept, so that a run resumes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerank_plugin.collections.jsonl import read_jsonl
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.files import replace_file
from rerank_plugin.training.adapting.lists import AskedList, CandidateList
from rerank_plugin.training.data.pairs import LabelledPair

# Of the files below: those of another format are not read.
FORMAT = 2
LISTS, PLAN, SETTINGS = "lists.jsonl", "plan.json", "settings.json"


@dataclass(frozen=True)
class TaughtList:
    """
    A list with targets.

    :param row: The list.
    :param targets: For each passage, as logits.
    """

    row: CandidateList
    targets: list[float]

    def pairs(self) -> list[LabelledPair]:
        """Return the pairs that a listwise loss learns from."""
        labels = [float(self.row.has_source and position == 0) for position in range(len(self.targets))]
        return [
            LabelledPair(self.row.query, passage, label, target)
            for passage, label, target in zip(self.row.passages, labels, self.targets, strict=True)
        ]


@dataclass(frozen=True)
class Plan:
    """
    How much is trained and measured.

    :param lists: Lists about the corpus.
    :param epochs: Passes over them.
    :param measured: Queries of each kind that both models are measured with.
    :param weights: For each opinion.
    """

    lists: int
    epochs: float
    measured: int
    weights: list[float]


class RunFolder:
    """
    The files that a run keeps until it is finished.

    :param folder: The folder.
    :param settings: Everything that the lists depend on.
    :raises InvalidValueError: If the folder has lists of a run with other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = folder
        file = folder / SETTINGS
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        if known is not None and known != settings:
            changed = sorted(name for name in {*known, *settings} if known.get(name) != settings.get(name))
            raise InvalidValueError(
                f"{folder} has an adaptation with other settings ({', '.join(changed)}): choose another output, or delete it"
            )
        if known is None:
            with replace_file(file) as stream:
                stream.write(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

    @property
    def training(self) -> Path:
        """Folder of the training's checkpoints."""
        return self._folder / "training"

    @property
    def questions(self) -> Path:
        """File of the language model's questions."""
        return self._folder / "questions.jsonl"

    def read(self) -> list[AskedList]:
        """Return the lists so far; an incomplete last line is removed."""
        file = self._folder / LISTS
        if not file.exists():
            return []
        with file.open("r+b") as out:
            whole, end, _ = out.read().rpartition(b"\n")
            out.truncate(len(whole) + len(end))
        return [AskedList(CandidateList(**record["row"]), record["opinions"]) for _, record in read_jsonl(file)]

    def add(self, lists: Sequence[AskedList]) -> None:
        """Append lists."""
        with (self._folder / LISTS).open("a", encoding="utf-8") as out:
            for one in lists:
                out.write(json.dumps({"row": one.row.as_json(), "opinions": one.opinions}, ensure_ascii=False) + "\n")

    @property
    def plan(self) -> Plan | None:
        """How much is trained; `None` before all lists are there."""
        file = self._folder / PLAN
        return Plan(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None

    def save_plan(self, plan: Plan) -> None:
        """Keep how much is trained: a resumed run must train the same."""
        with replace_file(self._folder / PLAN) as stream:
            stream.write(json.dumps(asdict(plan)) + "\n")
