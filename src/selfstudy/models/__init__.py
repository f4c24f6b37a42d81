"""Models and tokenizers: load, create, save, check, and turn problems into tokens."""
