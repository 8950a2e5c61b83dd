"""The parts of the sample `analyse_logs.py` that workers import, and what it prints."""
