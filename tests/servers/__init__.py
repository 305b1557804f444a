"""Servers that the tests talk to: a real vLLM server, and a stand-in for OpenAI's service."""
