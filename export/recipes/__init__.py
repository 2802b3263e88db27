"""Recipes that come with bedside, as TOML files."""
