"""Trainers that take the same steps on the same data: what ``learning.py`` compares."""
