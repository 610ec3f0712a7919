"""A trainer that exits at once."""
