"""The measures behind `ds bench`: each beside the raw `sqlite3` floor, in turns, as a ratio."""
