"""Engines that sample the same completions from the same weights: what ``generation.py`` compares."""
