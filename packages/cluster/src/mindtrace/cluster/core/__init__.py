"""What clients of a cluster need beside the services themselves."""
