"""The catalogue of models as files."""
