"""The backends behind LM, each speaking one API."""
