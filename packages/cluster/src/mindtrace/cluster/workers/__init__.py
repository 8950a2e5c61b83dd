"""The workers that come with the package."""
