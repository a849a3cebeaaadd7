"""Async versions of methods that wait for a disk or a lock."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


def in_thread(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], Awaitable[R]]:
    """
    Return the async version of a method: it runs the method in a thread, so that the event loop is not blocked.

    :param method: The method; an override in a subclass is called instead.
    """
    name = method.__name__

    @wraps(method)
    async def async_method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = await asyncio.to_thread(getattr(self, name), *args, **kwargs)
        return result

    async_method.__name__, async_method.__qualname__ = f"{name}_async", f"{method.__qualname__}_async"
    return async_method
