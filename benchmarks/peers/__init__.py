"""Scripts that start a server under test; each is run, none is imported by the benchmark."""
