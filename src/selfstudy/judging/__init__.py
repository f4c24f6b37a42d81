"""Deciding what is right: arithmetic, answers, notation and verifiers."""
