"""The command line `rerank`. Heavy libraries are imported only when a command runs, so that `--help` is fast."""

# Each of these modules registers its commands with the application, in this order.
from rerank_plugin.cli import searching, copying, serving, mcp, batch, judging, evaluating, measuring, learning, adapting  # noqa: F401, I001
from rerank_plugin.cli.app import app, main

__all__ = ["app", "main"]
