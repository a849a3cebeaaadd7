"""Async twins of methods that wait for a disk or a lock."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


def in_thread(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], Awaitable[R]]:
    """
    Return the async twin of a method: the same, in a thread, so that the event loop goes on.

    :param method: The method; one that a subclass overrides is followed.
    """
    name = method.__name__

    @wraps(method)
    async def twin(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = await asyncio.to_thread(getattr(self, name), *args, **kwargs)
        return result

    twin.__name__, twin.__qualname__ = f"{name}_async", f"{method.__qualname__}_async"
    return twin
