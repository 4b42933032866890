"""The image that every step runs in: one image, so that a party checks and mirrors one."""

from tallystick import __version__

PARTY = f"ghcr.io/tallystick/party:{__version__}"
