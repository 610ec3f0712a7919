"""What is special about experiments that several nodes train together."""
