"""The gateway: one address for many services, and clients that go through it."""
