"""What people add to experiments: tags, a note in Markdown, whether it is a favourite."""
