"""What can be done with data sets, and what is known of them."""
