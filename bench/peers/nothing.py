"""A trainer that ends at once."""
