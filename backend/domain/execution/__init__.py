"""What an entry and a person say about how an attempt is executed. Plain data and rules."""
