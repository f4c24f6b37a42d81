"""Stages: each turns artifacts into one new artifact. No stage imports another; recipes wire them."""
