"""What the pages of the dashboard are made from: filters, columns, plots, notes."""
