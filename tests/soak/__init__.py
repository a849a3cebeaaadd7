"""Attacks on the package through its public interfaces: long runs by `make soak`, and a small round of each in the tests."""
