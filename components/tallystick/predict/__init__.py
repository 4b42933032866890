"""A model applied to new rows: the predictions open to one party alone."""
