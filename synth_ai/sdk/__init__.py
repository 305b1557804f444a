"""The way to a server, for LM and for the remote engine: the openai SDK's client, errors, pace."""
