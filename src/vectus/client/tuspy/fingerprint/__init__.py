"""Where tuspy's users find fingerprints of files."""
