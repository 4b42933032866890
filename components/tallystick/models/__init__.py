"""Models by name, their artifact, their export."""
