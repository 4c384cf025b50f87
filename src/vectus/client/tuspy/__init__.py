"""tuspy's interface on top of vectus: the same names, arguments and defaults, without its faults.

The modules below have tuspy's names too, so that ``tusclient`` becomes ``vectus.client.tuspy``
in every import and nothing else changes. What does differ is told in ``docs/from-tuspy.md``. New
code is better off with ``vectus.Client``.
"""

from vectus.client.tuspy.client import TusClient
from vectus.client.tuspy.exceptions import TusCommunicationError, TusUploadFailed
from vectus.client.tuspy.fingerprint.fingerprint import Fingerprint
from vectus.client.tuspy.storage.filestorage import FileStorage
from vectus.client.tuspy.storage.interface import Storage
from vectus.client.tuspy.uploader import AsyncUploader, Uploader

__all__ = [
    "AsyncUploader",
    "FileStorage",
    "Fingerprint",
    "Storage",
    "TusClient",
    "TusCommunicationError",
    "TusUploadFailed",
    "Uploader",
]
