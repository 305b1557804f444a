"""Tests of OpenAI's shapes over an LM."""
