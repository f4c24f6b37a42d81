"""Families of generated word problems, as data."""

from __future__ import annotations

from selfstudy.problems.families.counting import COUNTING
from selfstudy.problems.families.family import Family
from selfstudy.problems.families.longer import LONGER
from selfstudy.problems.families.measuring import MEASURING
from selfstudy.problems.families.tested import TESTED

FAMILIES: tuple[Family, ...] = (*TESTED, *COUNTING, *MEASURING, *LONGER)
