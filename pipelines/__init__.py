"""Recipes: how the steps compose. ``compiled/`` holds the packages that one uploads."""
