"""How many bytes of a file are read at once."""

PIECE_BYTES = 64 * 1024  # of a file that is sent, followed or searched
LARGE_PIECE_BYTES = 1024 * 1024  # of a file that is read to its end, to parse or to hash it
