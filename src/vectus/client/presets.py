"""Hosted endpoints and the chunks that they take, as their manuals say."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from vectus.client.job import MIB, Chunks

PRESETS = {
    "cloudflare": Chunks(50 * MIB, smallest=5 * MIB, largest=200 * MIB, multiple=256 << 10),
    "supabase": Chunks(6 * MIB, smallest=6 * MIB, largest=6 * MIB),
    "vimeo": Chunks(128 * MIB),
}
"""Cloudflare Stream: 5 to 200 MiB, a multiple of 256 KiB, 50 MiB advised. Supabase: 6 MiB and
nothing else. Vimeo: any size; 128 MiB is what it advises for most."""

_HOSTS = {
    "cloudflare.com": "cloudflare",
    "cloudflarestream.com": "cloudflare",
    "videodelivery.net": "cloudflare",
    "supabase.co": "supabase",
    "vimeo.com": "vimeo",
}


@lru_cache
def preset_of(url: str | None) -> Chunks:
    """The chunks for a URL, guessed by its host; any chunks for hosts that are not known."""
    host = (urlsplit(url or "").hostname or "").lower()
    domains = (".".join(host.split(".")[n:]) for n in range(host.count(".") + 1))
    names = (_HOSTS[domain] for domain in domains if domain in _HOSTS)
    name = next(names, None)
    return Chunks() if name is None else PRESETS[name]


def chunks_of(preset: str | Chunks | None, url: str | None, size: int | None) -> Chunks:
    """The chunks of an upload.

    Args:
        preset: a name of ``PRESETS``, chunks of one's own, or None to guess by the host.
        url: where the upload goes.
        size: bytes of a chunk that the caller wants, or None.

    Raises:
        ValueError: there is no preset of this name, or the size is not positive.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        raise ValueError(f"There is no preset {preset!r}; there are {', '.join(PRESETS)}.")
    if size is not None and size < 1:
        raise ValueError(f"chunk_size must be at least 1, not {size}.")
    if isinstance(preset, Chunks):
        chunks = preset
    else:
        chunks = preset_of(url) if preset is None else PRESETS[preset]
    if size is None:
        return chunks
    smallest = min(chunks.smallest, size) if chunks == Chunks() else chunks.smallest
    return Chunks(size, smallest, chunks.largest, chunks.multiple)
