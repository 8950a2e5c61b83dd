"""Services that show how services are written."""
