"""The engine: where protocol, lock, storage and listeners meet. It knows contracts only."""
