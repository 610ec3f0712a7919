"""The shared folders: data sets, outputs, logs and curves."""
