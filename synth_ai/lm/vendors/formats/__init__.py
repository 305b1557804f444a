"""Conversion between our items and what each API sends and answers. Pure: no client, no clock, no disk."""
