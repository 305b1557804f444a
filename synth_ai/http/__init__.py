"""Every call to a server goes through here: connections, limits, errors.

A call is a `Request` (requests.py) that `HTTPClient` (client.py) sends, once the rate limits let it
through and one of its loop's connections (connections.py) is free. How its bytes travel is known to
the transports alone (transport.py): nothing else in synth_ai imports an HTTP library.
"""
