"""Tests of the store, and what they and the soak share."""
