"""Where tuspy's users find storages of upload URLs."""
