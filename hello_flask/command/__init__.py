"""The commands of a user: `hello-flask submit`, `ls`, `logs` and the others."""
