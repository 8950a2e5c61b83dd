"""What a cluster keeps its things in: each place with an embedded and a distributed form."""
