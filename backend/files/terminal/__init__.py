"""Output as a terminal shows it."""
