"""
Continue the training of a bundled model on a CPU, with the lists of `judged_lists.py`.

    python benchmarks/bundled_model/continue_training.py WORK RUN --start me5-l12-enru [--teacher me5-l12-enru] [--passages 5] [--frozen-layers 4]

Without `--steps` the run has no end: it keeps a constant learning rate and a running average of the weights, which takes the place of a
decay, so that every checkpoint can be used. With it, the learning rate falls to zero over that many steps. RUN/state.pt is written
every few minutes, and the same command resumes from it; RUN/average has the averaged model, RUN/average-STEP older ones. `--pause-file` stops it for as long as that file exists.

With teachers a target is their mean opinion as a logit, and the judged passage is lifted above the others: where the teachers prefer another
one, the start model has something to learn. Without teachers, which cost a third to a half of the time, the judgements alone are the target.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distil import PULL, losses
from encoders import HALF
from judged_lists import LIST_SIZE
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerank_plugin.scoring.loading.spec import resolve_model
from rerank_plugin.training.cpu.packed_encoder import speed_up
from rerank_plugin.training.output.save import save_half

LISTS_AT_ONCE, BATCHES_PER_STEP = 6, 2
WARM_UP_STEPS = 30
AVERAGE_STEPS = 60
KEPT_EVERY = 600  # steps between the averages that are kept
CHECKPOINT_SECONDS = 240
LENGTHS, SHORT_SHARE = (112, 224), 0.8
BONUS, LEAST_LEAD = 4.0, 1.5
LEAD = 5.0  # of the judged passage, without teachers: what is not judged may be relevant all the same
# Share of the batches. Documentation and claims get most: the start model is weakest there.
SHARES = {
    "techfaq_en": 24.0,
    "nq_qed_clapnq": 13.0,
    "techfaq_ru": 10.0,
    "tydiqa_en_train": 9.0,
    "fm2_claims_en": 8.0,
    "perspectrum": 7.0,
    "scitldr_en": 6.0,
    "muserc_ru": 5.0,
    "danetqa_ru": 5.0,
    "rumeddanet_ru": 4.0,
    "covidqa_en": 4.0,
    "squad11_train": 4.0,
    "medquad": 3.0,
    "ms_alchemy_ru": 2.0,
    "covid_faq_en": 0.5,
    "pubmedqa_en": 0.5,
}


class Reader:
    """
    Scores pairs with a model in the precision that the machine is fast in.

    :param source: A bundled name, or a folder.
    """

    def __init__(self, source: str) -> None:
        self.folder = resolve_model(source)
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.tokenizer.no_padding()
        self.pad = int(tokenizer.pad_token_id)
        self.has_kinds = "token_type_ids" in tokenizer.model_input_names
        self.weights = AutoModelForSequenceClassification.from_pretrained(
            self.folder, attn_implementation="sdpa", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        ).float()
        self.model = AutoModelForSequenceClassification.from_pretrained(
            self.folder, attn_implementation="sdpa", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        ).to(HALF)
        speed_up(self.model)
        self.model.train()  # the packed pass is for training; there is no dropout

    def logits(self, pairs: Sequence[tuple[str, str]], longest: int) -> torch.Tensor:
        """Return the logits of pairs, shape (pairs,)."""
        self.tokenizer.enable_truncation(longest, strategy="only_second")
        encodings = self.tokenizer.encode_batch([(query[:400], passage) for query, passage in pairs])
        width = max(len(encoding.ids) for encoding in encodings)
        ids = torch.full((len(pairs), width), self.pad)
        mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            size = len(encoding.ids)
            ids[row, :size] = torch.tensor(encoding.ids)
            if self.has_kinds:
                kinds[row, :size] = torch.tensor(encoding.type_ids)
            mask[row, :size] = 1
        output = self.model(input_ids=ids, attention_mask=mask, token_type_ids=kinds)
        logits: torch.Tensor = output.logits.float().view(-1)
        return logits


@dataclass
class Material:
    """
    The lists of all collections, in a fixed random order.

    :param folder: The folder of the lists.
    :param cursors: For each collection the number of lists taken so far.
    """

    folder: Path
    cursors: dict[str, int] = field(default_factory=dict)
    _lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def load(self) -> list[str]:
        """Read the files that have been written since; return the names of all collections that there are."""
        for file in sorted(self.folder.glob("*.jsonl")):
            if file.stem in SHARES and file.stem not in self._lists:
                self._lists[file.stem] = [json.loads(line) for line in file.read_bytes().splitlines()]
        return list(self._lists)

    def next(self, rng: np.random.Generator) -> tuple[str, list[dict[str, Any]]]:
        """Take the next lists of a random collection."""
        names = list(self._lists)
        shares = np.array([SHARES[name] for name in names])
        name = str(rng.choice(names, p=shares / shares.sum()))
        lists, start = self._lists[name], self.cursors.get(name, 0)
        self.cursors[name] = start + LISTS_AT_ONCE
        return name, [lists[(start + offset) % len(lists)] for offset in range(LISTS_AT_ONCE)]


def targets_of(relevant: torch.Tensor, opinions: torch.Tensor | None) -> torch.Tensor:
    """
    Return the targets of lists, as logits.

    :param relevant: Which passages are judged relevant, shape (lists, passages).
    :param opinions: The teachers' mean logits, same shape; `None`: there are none.
    """
    if opinions is None:
        return LEAD * relevant.float()
    others = opinions.masked_fill(relevant, -torch.inf).amax(1, keepdim=True)
    return torch.where(relevant, torch.maximum(opinions + BONUS, others + LEAST_LEAD), opinions)


@dataclass
class Run:
    """
    A run, and everything that its checkpoint holds.

    :param folder: Its folder.
    :param student: The model that is trained.
    :param teachers: Teachers; there may be none.
    :param material: The lists.
    :param rate: The learning rate.
    :param passages: Passages of a list that are read: the first, which is relevant, and others at random.
    :param frozen_layers: Layers, from the first, that are not trained.
    :param steps: Steps after which the run ends; `None`: it has no end.
    """

    folder: Path
    student: Reader
    teachers: list[Reader]
    material: Material
    rate: float
    passages: int
    frozen_layers: int
    steps: int | None = None
    step: int = 0
    pairs: int = 0

    def __post_init__(self) -> None:
        frozen = ("embeddings", *(f"encoder.layer.{number}." for number in range(self.frozen_layers)))
        trained = [
            (slow, fast)
            for (name, slow), fast in zip(
                self.student.weights.named_parameters(), self.student.model.parameters(), strict=True
            )
            if not any(part in name for part in frozen)
        ]
        for parameter in self.student.model.parameters():
            parameter.requires_grad = False
        self._weights, self._halves = [slow for slow, _ in trained], [fast for _, fast in trained]
        for half in self._halves:
            half.requires_grad = True
        for weight in self._weights:
            weight.grad = torch.zeros_like(weight)
        self._average = [weight.detach().clone() for weight in self._weights]
        self._optimizer = torch.optim.AdamW(self._weights, lr=self.rate, weight_decay=0.01, betas=(0.9, 0.98))
        if (self.folder / "state.pt").exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.folder / "state.pt", weights_only=True)
        with torch.no_grad():
            torch._foreach_copy_(self._weights, state["weights"])
            torch._foreach_copy_(self._average, state["average"])
            torch._foreach_copy_(self._halves, self._weights)
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.pairs, self.material.cursors = state["step"], state["pairs"], state["cursors"]
        print(f"resumed at step {self.step}", flush=True)

    def save(self) -> None:
        """Write the checkpoint and the averaged model."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "weights": [weight.detach() for weight in self._weights],
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "pairs": self.pairs,
            "cursors": self.material.cursors,
        }
        torch.save(state, self.folder / "state.tmp")
        (self.folder / "state.tmp").replace(self.folder / "state.pt")

    def export(self, folder: Path) -> None:
        """Write the averaged model as a cross-encoder."""
        current = [weight.detach().clone() for weight in self._weights]
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._average)
            model = CrossEncoder(self.student.folder, device="cpu")
            own = dict(self.student.weights.named_parameters())
            for name, parameter in model.named_parameters():
                parameter.copy_(own[next(end for end in own if name.endswith(end))])
            folder.mkdir(parents=True, exist_ok=True)
            save_half(model, folder, base=self.student.folder)
            torch._foreach_copy_(self._weights, current)

    def batches(self) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
        """Yield the batches of a step: collection, lists, maximum tokens of a pair. They depend on the number of the step."""
        rng = np.random.default_rng([17, self.step])
        for _ in range(BATCHES_PER_STEP):
            name, rows = self.material.next(rng)
            yield name, rows, LENGTHS[int(rng.random() >= SHORT_SHARE)]

    def _columns(self, lists: int) -> list[list[int]]:
        rng = np.random.default_rng([23, self.step, self.pairs])
        return [[0, *(1 + rng.permutation(LIST_SIZE - 1)[: self.passages - 1]).tolist()] for _ in range(lists)]

    def learn(self) -> list[tuple[str, float, float]]:
        """Do a step; return for each batch the collection and both losses."""
        report = []
        for name, rows, longest in self.batches():
            columns = self._columns(len(rows))
            pairs = [
                (row["query"], row["passages"][column]) for row, own in zip(rows, columns, strict=True) for column in own
            ]
            relevant = torch.tensor(
                [[row["relevant"][column] for column in own] for row, own in zip(rows, columns, strict=True)]
            )
            opinions = None
            if self.teachers:
                with torch.no_grad():
                    opinions = (
                        torch.stack([teacher.logits(pairs, longest) for teacher in self.teachers]).mean(0).view_as(relevant)
                    )
            targets = targets_of(relevant, opinions)
            order, pull = losses(self.student.logits(pairs, longest).view_as(targets), targets)
            ((order + PULL * pull * bool(self.teachers)) / BATCHES_PER_STEP).backward()
            self.pairs += len(pairs)
            report.append((name, float(order.detach()), float(pull.detach())))
        torch._foreach_copy_([weight.grad for weight in self._weights], [half.grad for half in self._halves])
        for half in self._halves:
            half.grad = None
        for group in self._optimizer.param_groups:
            decay = 1.0 if self.steps is None else max(0.0, 1 - self.step / self.steps)
            group["lr"] = self.rate * min(1.0, (self.step + 1) / WARM_UP_STEPS) * decay
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(self._halves, self._weights)
            torch._foreach_lerp_(self._average, self._weights, 1 - min(1 - 1 / AVERAGE_STEPS, self.step / (self.step + 20)))
        self.step += 1
        return report


def train(run: Run, pause: Path | None) -> None:
    """Train, and keep what comes of it."""
    saved, began, seen, logged = time.monotonic(), time.monotonic(), 0, []
    while run.steps is None or run.step < run.steps:
        while pause is not None and pause.exists():
            time.sleep(5)
        before = run.pairs
        logged += run.learn()
        seen += run.pairs - before
        if run.step % 25 == 0:
            order, pull = (float(np.mean([row[column] for row in logged])) for column in (1, 2))
            speed = seen / (time.monotonic() - began)
            print(f"step {run.step}, {run.pairs} pairs, {speed:.1f} a second: kl {order:.4f}, pull {pull:.4f}", flush=True)
            began, seen, logged = time.monotonic(), 0, []
            run.material.load()
        if run.step % KEPT_EVERY == 0:
            run.export(run.folder / f"average-{run.step}")
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            run.save()
            run.export(run.folder / "average")
            saved = time.monotonic()
    run.save()
    run.export(run.folder / "average")


def main() -> None:
    """Start or resume a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder of judged_lists.py")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--start", required=True, help="cross-encoder to start from: a bundled name or a folder")
    parser.add_argument("--teacher", action="append", default=[], help="a cross-encoder; repeatable")
    parser.add_argument("--passages", type=int, default=LIST_SIZE, help="passages of a list that are read")
    parser.add_argument("--frozen-layers", type=int, default=0, help="layers, from the first, that are not trained")
    parser.add_argument(
        "--steps", type=int, help="steps over which the learning rate falls to zero; without them the run has no end"
    )
    parser.add_argument("--rate", type=float, default=5e-5, help="learning rate")
    parser.add_argument("--pause-file", type=Path, help="the run waits while this file exists")
    options = parser.parse_args()
    material = Material(options.work / "lists")
    if not material.load():
        parser.error(f"{options.work / 'lists'} has no lists: write some with judged_lists.py")
    teachers = [Reader(name) for name in options.teacher]
    run = Run(
        options.run,
        Reader(options.start),
        teachers,
        material,
        options.rate,
        options.passages,
        options.frozen_layers,
        options.steps,
    )
    train(run, options.pause_file)


if __name__ == "__main__":
    main()
