"""What the database holds beside experiments and their transitions, a module for each."""
