"""Benchmark the speed, quality and memory of the second stage against other rerankers, in one run."""
