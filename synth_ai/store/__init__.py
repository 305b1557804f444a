"""Where turns are kept: in memory, in a file, or not at all."""
