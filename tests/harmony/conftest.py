"""Settings of the property tests: machines that run other work too are no reason to fail."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
