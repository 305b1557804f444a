"""LM and what it is made of: requests, responses, items, options, routing, backends."""
