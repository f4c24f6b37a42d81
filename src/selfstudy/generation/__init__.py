"""Sampling: many completions of many prompts at once, with hooks that write tokens themselves."""
