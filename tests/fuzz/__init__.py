"""Coverage-guided fuzzing of everything that reads text: ``pip install atheris``, ``python -m tests.fuzz TARGET``."""
