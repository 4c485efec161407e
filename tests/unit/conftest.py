"""What holds for all unit tests."""

from hypothesis import settings

# A property is about values; how long an example takes on a busy machine says nothing about it.
settings.register_profile("values", deadline=None)
settings.load_profile("values")
