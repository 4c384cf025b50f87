"""tuspy's two uploaders."""

from vectus.client.tuspy.uploader.uploader import AsyncUploader, Uploader

__all__ = ["AsyncUploader", "Uploader"]
