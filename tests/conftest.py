"""Settings for all tests."""

from hypothesis import settings

# A machine that others use too makes any single example slow now and then; pytest-timeout watches.
settings.register_profile("tallystick", deadline=None)
settings.load_profile("tallystick")
