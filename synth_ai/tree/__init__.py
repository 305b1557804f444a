"""Conversations drawn as a tree: in a terminal, in a notebook, as a page, as Mermaid."""
