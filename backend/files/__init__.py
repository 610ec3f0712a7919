"""The input and output folders, and the files in them."""
