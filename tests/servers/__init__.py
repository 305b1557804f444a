"""Servers that the tests talk to: a real vLLM server, and a small stand-in for OpenAI's own service."""
