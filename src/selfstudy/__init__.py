"""Selfstudy: teach a small language model to reason from its own attempts."""

from importlib.metadata import version

__version__ = version("selfstudy")
