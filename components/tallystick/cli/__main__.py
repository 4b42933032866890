"""``python -m tallystick.cli``."""

from tallystick.cli import app

if __name__ == "__main__":
    app()
