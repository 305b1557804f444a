"""vLLM in this process, or a vLLM server that takes and returns token ids."""
