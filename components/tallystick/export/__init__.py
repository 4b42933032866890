"""The model, opened to the parties that the job names."""
