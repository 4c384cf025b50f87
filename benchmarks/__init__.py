"""How fast vectus is: every row of the speed table, beside the floor and beside its peers.

``python -m benchmarks`` runs it; ``README.md`` says how to read what it prints. Nothing in here is
imported by vectus, and nothing of a peer's code is in here.
"""
