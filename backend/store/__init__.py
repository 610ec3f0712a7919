"""The database of experiments, in MySQL, MariaDB or SQLite."""
