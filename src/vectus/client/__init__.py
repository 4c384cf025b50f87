"""The client: a pure machine (``machine.py``) under two thin drivers over httpx2."""
