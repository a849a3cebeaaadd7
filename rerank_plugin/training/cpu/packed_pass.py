"""
All layers of an encoder as one step of autograd, with the pairs of a batch distributed over threads.

Each thread takes its pairs through the whole encoder and back. torch would instead parallelise each of the hundreds of small
operations of a layer, and spend much of the time waking threads and waiting for them.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from rerank_plugin.training.cpu import packed_layer
from rerank_plugin.training.cpu.packed_layer import LayerPlan, LayerWeights

WEIGHTS_OF_A_LAYER = 16


@dataclass(frozen=True)
class Shard:
    """
    The pairs of a thread.

    :param start: Position of its first token among the packed tokens.
    :param end: Position after its last token.
    :param plans: How each layer is computed; positions in them count from `start`.
    """

    start: int
    end: int
    plans: tuple[LayerPlan, ...]


class PackedPass(torch.autograd.Function):
    """
    All layers of an encoder: `PackedPass.apply(x, shards, *weights)`.

    `x` has the shape (packed tokens, size), `weights` are those of `LayerWeights`, layer by layer. The result is the
    concatenation of the last layer's outputs of all shards.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, shards: Sequence[Shard], *weights: torch.Tensor) -> torch.Tensor:
        """Compute the layers; save the tensors that the backward pass needs."""
        own = [weights[i : i + WEIGHTS_OF_A_LAYER] for i in range(0, len(weights), WEIGHTS_OF_A_LAYER)]
        with torch.autocast("cpu", enabled=False):
            layers = [LayerWeights(w, plan.heads, plan.dtype) for w, plan in zip(own, shards[0].plans, strict=True)]
        # A generator per thread: a shared one would be used in a different order each time.
        seeds = torch.randint(2**62, (len(shards),)).tolist()

        def run(shard: Shard, seed: int) -> tuple[torch.Tensor, list[Any]]:
            generator = torch.Generator().manual_seed(seed)
            states, saved = x[shard.start : shard.end], []
            for layer, plan in zip(layers, shard.plans, strict=True):
                states, kept = packed_layer.forward(states, layer, plan, generator)
                saved.append(kept)
            return states, saved

        results = in_threads(run, list(zip(shards, seeds, strict=True)))
        ctx.shards, ctx.layers, ctx.saved = shards, layers, [saved for _, saved in results]
        ctx.rows = [len(states) for states, _ in results]
        return torch.cat([states for states, _ in results])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of `x` (`None` if it needs none) and of the weights."""
        needs_input = ctx.needs_input_grad[0]
        # Frozen layers at the bottom need no gradient, so the pass ends above them.
        lowest = 0 if needs_input else first_trained(ctx.needs_input_grad[2:])

        def run(shard: Shard, saved: list[Any], gradient: torch.Tensor) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
            of_weights: list[torch.Tensor] = []
            for i in reversed(range(lowest, len(shard.plans))):
                wanted = needs_input or i > lowest
                d_input, own = packed_layer.backward(gradient, saved[i], ctx.layers[i], shard.plans[i], needs_input=wanted)
                gradient = gradient if d_input is None else d_input
                of_weights[:0] = own
            return (gradient if needs_input else None), of_weights

        results = in_threads(run, list(zip(ctx.shards, ctx.saved, torch.split(gradients[0], ctx.rows), strict=True)))
        total = results[0][1]
        for _, more in results[1:]:
            torch._foreach_add_(total, more)
        frozen = [None] * (WEIGHTS_OF_A_LAYER * lowest)
        return (torch.cat([d_input for d_input, _ in results]) if needs_input else None, None, *frozen, *total)


def first_trained(needs_gradient: Sequence[bool]) -> int:
    """
    Return the number of the first layer that is trained.

    :param needs_gradient: For each weight, layer by layer, whether it needs a gradient; at least one does.
    """
    return needs_gradient.index(True) // WEIGHTS_OF_A_LAYER


def in_threads(run: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """
    Call a function in parallel, with one thread per call and no further threads inside.

    :param run: The function; it must not need autograd.
    :param arguments: The arguments of each call.
    :returns: The results of the calls, in order.
    """
    if len(arguments) == 1:
        return [run(*arguments[0])]
    threads = torch.get_num_threads()

    def alone(values: tuple[Any, ...]) -> Any:
        torch.set_num_threads(1)  # of this thread
        with torch.no_grad():
            return run(*values)

    try:
        return list(_pool(len(arguments)).map(alone, arguments))
    finally:
        torch.set_num_threads(threads)  # the default for new threads


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="training")
