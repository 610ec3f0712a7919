"""The database: the index of all experiments, in MySQL, MariaDB or SQLite."""
