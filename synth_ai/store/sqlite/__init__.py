"""Turns in one SQLite file."""
