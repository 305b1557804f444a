"""Every call to a server goes through here: connections, limits, errors.

A call is a `Request` (requests.py) that `HTTPClient` (client.py) sends, once the rate limits let it
through. How its bytes travel is known to connections.py alone: nothing else in synth_ai imports an
HTTP library.
"""
