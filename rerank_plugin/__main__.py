"""`python -m rerank_plugin` is `rerank`."""

from rerank_plugin.cli import main

main()
