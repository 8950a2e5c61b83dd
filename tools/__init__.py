"""The tools of this repository, started through `ds` or `dev.py`."""
