"""The training loop: a cross-encoder learns the order, and the size, of a teacher's opinions on lists of candidates."""

import copy
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from encoders import DEVICE, HALF, Pairs
from torch.nn import functional

PULL = 0.15
BEST = 3.0  # the logit of the best candidate of a list: a probability of 0.95
LOWEST = -7.0
WARM_UP_STEPS = 150
TOKENS_AT_ONCE = 40_000
SHORT, LONG, SHORT_SHARE = 192, 320, 0.75


@dataclass(frozen=True)
class Lesson:
    """
    Lists to learn from.

    :param share: How often a step takes this lesson.
    :param pairs: The texts.
    :param candidates: Positions of passages, shape (queries, candidates).
    :param targets: What the teacher thinks of them, as logits, the same shape.
    """

    share: float
    pairs: Pairs
    candidates: np.ndarray
    targets: np.ndarray

    def batches(self, lists: int, draw: np.random.Generator) -> Iterator[np.ndarray]:
        """Positions of queries, lists of like length together, without end."""
        block = lists * 16
        while True:
            order = draw.permutation(len(self.candidates))
            for start in range(0, len(order), block):
                part = order[start : start + block]
                size = self.pairs.queries.lengths[part] + self.pairs.passages.lengths[self.candidates[part]].mean(1)
                part = part[np.argsort(size, kind="stable")]
                groups = [part[at : at + lists] for at in range(0, len(part), lists)]
                draw.shuffle(groups)
                yield from groups


def losses(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """KL divergence of the softmax over the list; smooth L1 distance to the targets, moved so that the best one is at 3."""
    order = functional.kl_div(functional.log_softmax(logits, 1), functional.softmax(targets, 1), reduction="batchmean")
    wanted = (targets - targets.amax(1, keepdim=True) + BEST).clamp(LOWEST, BEST + 1)
    return order, functional.smooth_l1_loss(logits, wanted)


def distil(
    model: Any, lessons: Sequence[Lesson], *, seconds: float, lists: int, peak: float, frozen: Sequence[str], seed: int = 0
) -> None:
    """
    Train for a time, in bf16 with fp32 copies of the weights; the average of the weights is what remains in the model.

    AdamW (betas 0.9 and 0.98, weight decay 0.01), gradients clipped at norm 1, linear warm-up and decay.

    :param model: The cross-encoder, in fp32.
    :param lessons: What it learns from.
    :param seconds: How long.
    :param lists: Queries a step.
    :param peak: The highest learning rate.
    :param frozen: Parts of names of parameters that stay as they are.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not any(part in name for part in frozen)
    fast = copy.deepcopy(model).to(HALF).train()
    both = [(a, b) for a, b in zip(model.parameters(), fast.parameters(), strict=True) if a.requires_grad]
    weights, halves = [a for a, _ in both], [b for _, b in both]
    average = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, lr=peak, weight_decay=0.01, betas=(0.9, 0.98), fused=DEVICE == "cuda")
    pick, draw = random.Random(seed), np.random.default_rng(seed)
    streams = [lesson.batches(lists, draw) for lesson in lessons]
    began, step, seen, sums = time.time(), 0, 0, torch.zeros(2, device=DEVICE)
    while (fraction := (time.time() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.02, 1 - fraction)
        which = pick.choices(range(len(lessons)), [lesson.share for lesson in lessons])[0]
        lesson, part = lessons[which], next(streams[which])
        logits = _forward(fast, lesson, part, SHORT if pick.random() < SHORT_SHARE else LONG)
        order, pull = losses(logits, torch.from_numpy(lesson.targets[part]).to(DEVICE))
        (order + PULL * pull).backward()
        for weight, half in zip(weights, halves, strict=True):
            weight.grad, half.grad = half.grad.float(), None
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


def _forward(model: Any, lesson: Lesson, part: np.ndarray, longest: int) -> torch.Tensor:
    """Logits of the lists, shape (queries, candidates); pairs of like length share a forward pass."""
    q = np.repeat(part, lesson.candidates.shape[1])
    d = lesson.candidates[part].reshape(-1)
    chunks = list(lesson.pairs.chunks(q, d, longest, TOKENS_AT_ONCE))
    found = torch.cat([model(**lesson.pairs.inputs(q[c], d[c], longest)).logits.float().view(-1) for c in chunks])
    back = np.argsort(np.concatenate(chunks), kind="stable")
    return found[torch.from_numpy(back).to(DEVICE)].view(len(part), -1)
