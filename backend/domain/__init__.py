"""Plain data and rules of the domain; no input or output."""
