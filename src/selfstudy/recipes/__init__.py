"""Recipes: each is one algorithm, laid out as a plan of stages. Nothing else wires stages."""
