"""
Distil both retrievers into a cross-encoder: the second half of training a bundled model.

Version 0 of `minilm-l6-en` has had the first half alone.

    python benchmarks/bundled_model/distil.py lists FOLDER_OF_COLLECTIONS --output lists.jsonl
    python benchmarks/bundled_model/distil.py train lists.jsonl --start FOLDER_OF_A_CROSS_ENCODER --output FOLDER --minutes 52

The first half is `train.py` beside this file. `lists` draws the candidate lists (see `candidates.py` and `windows.py`). `train` goes on from
the model of the first half, with two terms for a list with the teacher's scores t and the model's logits s:

- the divergence KL(softmax(t) || softmax(s)), that is the ListNet loss of Cao et al., 2007, with the teacher as judge;
- 0.15 * smooth L1 between s and t - max(t) + 3 cut to [-7, 4], so that logits of different queries stay comparable.

The weights are float32 and a bfloat16 copy of them computes; the embeddings are frozen. What is saved is the moving average of the
weights. The learning rate falls with the time that has passed, so that the run ends when it should on a machine of any speed.
"""

import argparse
import copy
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from candidates import COLLECTIONS, CandidateList, Question, load, passage_lists, read_lists, write_lists
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch.nn import functional
from windows import Sentences, pseudo_questions, window_lists

from rerank_plugin.pipelines import PACKAGED_MODEL, packaged_model
from rerank_plugin.training.save import save_half

SEED = 11
LISTS_PER_STEP = 8
PAIRS_AT_ONCE = 16
LEARNING_RATE = 9e-5
WARMUP_STEPS = 100
ABSOLUTE_WEIGHT = 0.15
LONGEST = 208
AVERAGE_EVERY, AVERAGE_DECAY = 10, 0.98
WINDOW_STEPS = 24
# Short windows first, for many pairs; whole passages later, as that is what the model will read.
SHORT_SHARE, SHORT_UNTIL, SHORT_SHARE_LATER = 0.9, 0.45, 0.3
PSEUDO_WINDOWS = 5000
PAD_TO = 16  # few different shapes: oneDNN prepares its kernels once for each

Pair = tuple[list[int], list[int]]


@dataclass(frozen=True)
class TokenList:
    """Token ids and segment ids of each passage of a list, and the teacher's scores."""

    pairs: list[Pair]
    scores: list[float]

    @property
    def tokens(self) -> int:
        """Tokens of all pairs."""
        return sum(len(ids) for ids, _ in self.pairs)


def tokenise(lists: Sequence[CandidateList], tokenizer: Any) -> list[TokenList]:
    """Token ids of every pair."""
    found = []
    for candidates in lists:
        encoded = tokenizer(
            [candidates.query] * len(candidates.passages),
            candidates.passages,
            truncation="longest_first",
            max_length=LONGEST,
            return_token_type_ids=True,
        )
        found.append(TokenList(list(zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)), candidates.scores))
    return found


def steps(lists: Sequence[TokenList], draw: random.Random) -> Iterator[list[TokenList]]:
    """The lists of each step, of like length, without end."""
    lists = list(lists)
    while True:
        draw.shuffle(lists)
        for start in range(0, len(lists), LISTS_PER_STEP * WINDOW_STEPS):
            window = sorted(lists[start : start + LISTS_PER_STEP * WINDOW_STEPS], key=lambda found: found.tokens)
            batches = [window[i : i + LISTS_PER_STEP] for i in range(0, len(window), LISTS_PER_STEP)]
            draw.shuffle(batches)
            yield from batches


class Student:
    """A cross-encoder with float32 weights that are trained, a bfloat16 copy that computes, and their moving average."""

    def __init__(self, folder: str) -> None:
        no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        self.cross_encoder = CrossEncoder(
            folder, device="cpu", config_kwargs=no_dropout, model_kwargs={"attn_implementation": "eager"}
        )
        network: Any = self.cross_encoder[0].model.float()
        self._copy = copy.deepcopy(network).bfloat16().train()
        pairs = zip(network.named_parameters(), self._copy.parameters(), strict=True)
        trained = [(weights, half) for (name, weights), half in pairs if ".embeddings." not in name]
        for parameter in (*network.parameters(), *self._copy.parameters()):
            parameter.requires_grad = False
        self._weights = [weights.requires_grad_() for weights, _ in trained]
        self._halves = [half.requires_grad_() for _, half in trained]
        self._average = [weights.detach().clone() for weights in self._weights]
        self._optimizer = torch.optim.AdamW(self._weights, fused=True, weight_decay=0.01)
        self._step = 0

    def logits(self, lists: Sequence[TokenList]) -> torch.Tensor:
        """Logits, shape (lists, passages); pairs of like length are computed together."""
        pairs = [pair for candidates in lists for pair in candidates.pairs]
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))
        parts = [order[i : i + PAIRS_AT_ONCE] for i in range(0, len(order), PAIRS_AT_ONCE)]
        found = torch.cat([self._forward([pairs[i] for i in part]) for part in parts])
        return found[torch.tensor(order).argsort()].view(len(lists), -1)

    def _forward(self, pairs: Sequence[Pair]) -> torch.Tensor:
        length = -(-max(len(ids) for ids, _ in pairs) // PAD_TO) * PAD_TO
        ids, segments, mask = (torch.zeros(len(pairs), length, dtype=torch.long) for _ in range(3))
        for row, (own_ids, own_segments) in enumerate(pairs):
            ids[row, : len(own_ids)] = torch.tensor(own_ids)
            segments[row, : len(own_ids)] = torch.tensor(own_segments)
            mask[row, : len(own_ids)] = 1
        return self._copy(input_ids=ids, token_type_ids=segments, attention_mask=mask).logits.float().view(-1)

    def update(self, loss: torch.Tensor, progress: float) -> None:
        """One step of AdamW."""
        loss.backward()
        for weights, half in zip(self._weights, self._halves, strict=True):
            weights.grad, half.grad = half.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        rate = LEARNING_RATE * min(1.0, self._step / WARMUP_STEPS) * (1 - progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._step += 1
        with torch.no_grad():
            for weights, half in zip(self._weights, self._halves, strict=True):
                half.copy_(weights)
            if self._step % AVERAGE_EVERY == 0:
                decay = min(AVERAGE_DECAY, self._step / (self._step + 20))
                torch._foreach_lerp_(self._average, [weights.detach() for weights in self._weights], 1 - decay)

    def save(self, folder: Path, base: str) -> None:
        """Save the average of the weights."""
        with torch.no_grad():
            for weights, average in zip(self._weights, self._average, strict=True):
                weights.copy_(average)
        folder.mkdir(parents=True, exist_ok=True)
        save_half(self.cross_encoder, folder, base=base)


def losses(logits: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The two terms, for logits and teacher's scores of shape (lists, passages)."""
    divergence = functional.kl_div(
        functional.log_softmax(logits, dim=1), functional.softmax(teacher, dim=1), reduction="batchmean"
    )
    target = (teacher - teacher.max(dim=1, keepdim=True).values + 3).clamp(-7, 4)
    return divergence, functional.smooth_l1_loss(logits, target)


def train(options: argparse.Namespace) -> None:
    """Distil until the time is up."""
    torch.manual_seed(SEED)
    student = Student(options.start)
    lists, draw = read_lists(options.lists), random.Random(SEED)
    parts = [[made for made in lists if made.is_short == is_short] for is_short in (True, False)]
    short, long = (steps(tokenise(part, student.cross_encoder.tokenizer), draw) for part in parts)
    began, step, elapsed = time.monotonic(), 0, 0.0
    sums = [0.0, 0.0]
    while elapsed < options.minutes * 60:
        progress = elapsed / (options.minutes * 60)
        batch = next(short if draw.random() < (SHORT_SHARE if progress < SHORT_UNTIL else SHORT_SHARE_LATER) else long)
        divergence, absolute = losses(student.logits(batch), torch.tensor([candidates.scores for candidates in batch]))
        student.update(divergence + ABSOLUTE_WEIGHT * absolute, progress)
        sums = [sums[0] + divergence.item(), sums[1] + absolute.item()]
        step += 1
        if step % 100 == 0:
            print(f"step {step}, {elapsed / 60:.1f} min, KL {sums[0] / 100:.4f}, smooth L1 {sums[1] / 100:.4f}", flush=True)
            sums = [0.0, 0.0]
        elapsed = time.monotonic() - began
    student.save(options.output, options.start)
    print(f"{step} steps of {LISTS_PER_STEP} lists, saved in {options.output}")


def draw_lists(options: argparse.Namespace) -> None:
    """Draw and write the candidate lists."""
    encoder = SentenceTransformer(packaged_model(PACKAGED_MODEL), device="cpu")
    draw = random.Random(SEED)
    found: list[CandidateList] = []
    before: list[Question] = []
    for collection in COLLECTIONS:
        passages, judged = load(collection, options.collections, encoder, draw)
        found += passage_lists(collection, passages, judged, draw)
        sentences = Sentences(passages, draw)
        foreign = [Question(question.text, (), 0.0, is_foreign=True) for question in draw.sample(before, len(before) // 2)]
        found += window_lists(sentences, [*judged, *pseudo_questions(sentences, PSEUDO_WINDOWS), *foreign])
        before = judged
    draw.shuffle(found)
    write_lists(found, options.output)
    print(f"{len(found)} lists in {options.output}, {sum(made.is_short for made in found)} of them of short windows")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    drawing = commands.add_parser("lists", help="draw candidate lists")
    drawing.add_argument("collections", type=Path)
    drawing.add_argument("--output", type=Path, required=True)
    drawing.set_defaults(run=draw_lists)
    training = commands.add_parser("train", help="distil")
    training.add_argument("lists", type=Path)
    training.add_argument("--start", required=True, help="folder of the cross-encoder to go on from")
    training.add_argument("--output", type=Path, required=True)
    training.add_argument("--minutes", type=float, default=52)
    training.set_defaults(run=train)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
