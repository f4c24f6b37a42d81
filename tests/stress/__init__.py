"""What is too long for every commit: one run killed at every operation on files; ``python -m tests.stress --help``."""
