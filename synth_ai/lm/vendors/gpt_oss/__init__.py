"""gpt-oss on an engine: token ids rendered and parsed here."""
