"""The parts of the sample `index_files.py` that have nothing to do with jobs."""
