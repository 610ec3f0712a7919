"""What data sets hold, read by the rules of `models/common`, without NumPy."""
