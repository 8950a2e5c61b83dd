"""Code from Git repositories: checkouts, and the environments of their projects.

No boundary is drawn here: what is checked out and run can do what the user of this process can.
"""
