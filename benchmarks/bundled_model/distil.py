"""The training loop: a cross-encoder learns the ranking and the scale of distillation targets on candidate lists."""

import copy
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from candidate_lists import LIST_SIZE
from encoders import DEVICE, HALF, Pairs
from torch.nn import functional

from rerank_plugin.training.cpu.packed_encoder import can_speed_up, speed_up

PULL = 0.15
BEST = 3.0  # target logit of the best candidate of a list: a probability of 0.95
LOWEST = -7.0
WARM_UP_STEPS = 150
SHORT_SHARE = 0.7


@dataclass(frozen=True)
class Lesson:
    """
    Lists to train on.

    :param share: Share of the steps that use this lesson.
    :param pairs: The texts.
    :param candidates: Positions of passages, shape (queries, candidates).
    :param targets: Distillation targets (logits), same shape.
    """

    share: float
    pairs: Pairs
    candidates: np.ndarray
    targets: np.ndarray

    def batches(self, lists: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield batches of positions of queries, with lists of similar length together, without end."""
        block = lists * 16
        while True:
            order = rng.permutation(len(self.candidates))
            for start in range(0, len(order), block):
                rows = order[start : start + block]
                size = self.pairs.queries.lengths[rows] + self.pairs.passages.lengths[self.candidates[rows]].mean(1)
                rows = rows[np.argsort(size, kind="stable")]
                groups = [rows[at : at + lists] for at in range(0, len(rows), lists)]
                rng.shuffle(groups)
                yield from groups


@dataclass(frozen=True)
class Course:
    """
    Settings of a run.

    :param lists: Queries per step.
    :param peak: Peak learning rate.
    :param lengths: Maximum tokens of a pair, in 70 % of the steps and in the others.
    :param tokens_at_once: Tokens per forward pass, limited by memory.
    :param candidates: Candidates of a list per step: the first, which is relevant, and others at random.
    """

    lists: int
    peak: float
    lengths: tuple[int, int]
    tokens_at_once: int
    candidates: int = LIST_SIZE


def losses(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the KL divergence of the softmax over the list, and the smooth L1 distance to the targets, shifted so that the best is 3."""
    order = functional.kl_div(functional.log_softmax(logits, 1), functional.softmax(targets, 1), reduction="batchmean")
    wanted = (targets - targets.amax(1, keepdim=True) + BEST).clamp(LOWEST, BEST + 1)
    return order, functional.smooth_l1_loss(logits, wanted)


def distil(
    model: Any,
    lessons: Sequence[Lesson],
    course: Course,
    *,
    seconds: float,
    frozen: Sequence[str] = ("embeddings", "attention_bias"),
    seed: int = 0,
) -> None:
    """
    Train for a given time, in bf16 with fp32 master weights; the model ends with the average of the weights.

    AdamW (betas 0.9 and 0.98, weight decay 0.01), gradients clipped at norm 1, linear warm-up and decay.

    :param model: The cross-encoder, in fp32.
    :param lessons: The training data.
    :param course: Learning rate and batch sizes.
    :param seconds: Training time.
    :param frozen: Substrings of the names of frozen parameters. With frozen embeddings a model keeps what it knows of words
        that are not in the lists.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not any(part in name for part in frozen)
    fast = copy.deepcopy(model).to(HALF).eval()  # there is no dropout, so training is the same, and `eval` saves its kernels
    if DEVICE == "cpu" and can_speed_up(fast.config):  # not the teacher, an MPNet
        speed_up(fast)
        fast.train()
    both = [(a, b) for a, b in zip(model.parameters(), fast.parameters(), strict=True) if a.requires_grad]
    weights, halves = [a for a, _ in both], [b for _, b in both]
    average = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer = torch.optim.AdamW(weights, lr=course.peak, weight_decay=0.01, betas=(0.9, 0.98), fused=DEVICE == "cuda")
    choice_rng, rng = random.Random(seed), np.random.default_rng(seed)
    streams = [lesson.batches(course.lists, rng) for lesson in lessons]
    began, step, seen, sums = time.time(), 0, 0, torch.zeros(2, device=DEVICE)
    while (fraction := (time.time() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = course.peak * min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.02, 1 - fraction)
        number = choice_rng.choices(range(len(lessons)), [lesson.share for lesson in lessons])[0]
        lesson, rows = lessons[number], next(streams[number])
        columns = _choose(len(rows), lesson.candidates.shape[1], course.candidates, rng)
        longest = course.lengths[choice_rng.random() >= SHORT_SHARE]
        logits = _forward(fast, lesson, rows, columns, longest, course.tokens_at_once)
        order, pull = losses(logits, torch.from_numpy(lesson.targets[rows[:, None], columns]).to(DEVICE))
        (order + PULL * pull).backward()
        torch._foreach_copy_([weight.grad for weight in weights], [half.grad for half in halves])
        for half in halves:
            half.grad = None
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(halves, weights)
            torch._foreach_lerp_(average, weights, 1 - min(0.997, step / (step + 50)))
        step, seen = step + 1, seen + logits.numel()
        sums += torch.stack([order.detach(), pull.detach()])
        if step % 200 == 0:
            order_mean, pull_mean = (sums / 200).tolist()
            speed = seen / (time.time() - began)
            print(f"step {step}, {seen} pairs, {speed:.0f} a second: kl {order_mean:.4f}, pull {pull_mean:.4f}", flush=True)
            sums.zero_()
    with torch.no_grad():
        torch._foreach_copy_(weights, average)
    print(f"{step} steps, {seen} pairs", flush=True)


def _choose(lists: int, size: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Return the columns of the candidates to read, shape (lists, wanted): the first, and others at random."""
    others = rng.permuted(np.tile(np.arange(1, size), (lists, 1)), axis=1)[:, : wanted - 1]
    return np.concatenate([np.zeros((lists, 1), dtype=np.int64), others], axis=1)


def _forward(model: Any, lesson: Lesson, rows: np.ndarray, columns: np.ndarray, longest: int, tokens: int) -> torch.Tensor:
    """Return the logits of the chosen candidates, in the shape of `columns`; pairs of similar length share a forward pass."""
    q = np.repeat(rows, columns.shape[1])
    d = lesson.candidates[rows[:, None], columns].reshape(-1)
    chunks = list(lesson.pairs.chunks(q, d, longest, tokens))
    logits = torch.cat([model(**lesson.pairs.inputs(q[c], d[c], longest)).logits.float().view(-1) for c in chunks])
    back = np.argsort(np.concatenate(chunks), kind="stable")
    return logits[torch.from_numpy(back).to(DEVICE)].view(columns.shape)
