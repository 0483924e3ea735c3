"""Benchmarks: one harness, one file for each part of the library.

``python -m benchmarks`` from the root of the repository runs them all; see ``--help``.
"""
