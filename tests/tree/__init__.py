"""Tests of the tree and its pages."""
