"""The command line `rerank`. Nothing heavy is imported before a command runs, so that `--help` answers at once."""

# Each of these modules adds its commands to the application, in this order.
from rerank_plugin.cli import searching, evaluating, measuring, learning  # noqa: F401, I001
from rerank_plugin.cli.app import app, main

__all__ = ["app", "main"]
