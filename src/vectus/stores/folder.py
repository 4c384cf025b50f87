"""A directory of uploads in tusd's layout: ``<id>`` holds data, ``<id>.info`` the record.

Every call blocks and is run by ``disk.Disk``; nothing in here is asynchronous, and nothing decides
what an upload may do. The order of the steps is what makes a kill at any line harmless:

* created: the record is drafted, the data file claims the id and gets its first bytes, the draft
  becomes the record. Data without a record are nothing; while their draft is there, it tells whose
  they are (``walk.py``).
* changed: the record is replaced in one step, never written in place.
* removed: the record is renamed to ``<id>.gone``, which forgets the upload; then the data go, then
  that name. What is left of an interrupted removal is removed by the next walk (``walk.py``).

Ids have no dots, so that none of these names can be an id. Names that are no id's are never
touched: the directory may hold other people's files.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from types import TracebackType

from vectus.errors import (
    ConfigurationError,
    Overtaken,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UploadExists,
    UploadNotFound,
)
from vectus.protocol.upload import ID, Role, Upload
from vectus.stores.durable import (
    FILE_MODE,
    FOLDER_MODE,
    Durability,
    draft,
    drop,
    read_whole,
    replace_file,
    sync_file,
    sync_folder,
    write_whole,
)
from vectus.stores.ledger import Ledger
from vectus.stores.reach import OneMachine, Reach
from vectus.stores.record import decode, encode, measured, place

INFO = ".info"
GONE = ".gone"

NEW = ".new"
"""What the name of a new upload's first draft has after ``INFO``: until the draft is renamed, the
data file beside it is its own."""

WAITING = getattr(os, "O_DSYNC", os.O_SYNC)
"""What a file is opened with whose writes wait for stable storage."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_AWAY = {
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.ENOLCK,
    errno.EMFILE,
    errno.ENFILE,
}


class map_errors:  # noqa: N801 - it reads like a function, and is faster than one
    """Tell the operating system's errors that mean something to an upload as errors of ours."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in _FULL:
            raise StoreFull from error
        if error.errno in _AWAY:
            raise StoreUnavailable(error.strerror or "no reason given") from error


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it is on disk, and where the data are. The data have not been looked at."""

    upload: Upload
    data: str


def refuse_overtaken(stored: Upload, writer: Upload) -> None:
    """Raise ``Overtaken`` if somebody with a later lease has written the record."""
    if stored.fence > writer.fence:
        raise Overtaken(writer.id)


class Folder:
    """The blocking half of a file store.

    Args:
        directory: made if it is not there.
        durability: what to sync, at least.
        reach: who else uses it.

    Raises:
        ConfigurationError: it cannot be made, or not be written to.
    """

    def __init__(self, directory: str, durability: Durability, reach: Reach | None = None) -> None:
        self.directory = os.path.abspath(directory)
        self.reach = reach or OneMachine()
        self.durability = self.reach.durability(durability)
        self.waits = self.reach.waits and self.durability.ordered
        self.ledger = Ledger(self.directory, durability)
        self._records = self.reach.files(self._read)
        self._prepare()
        self._identity = self._identify()
        self._synced: dict[str, int] = {}  # complete ones, and when last written to

    def find(self, id: str) -> Found:
        """Return what the record of an upload says.

        Raises:
            UploadNotFound: there is none.
            RecordBroken: it cannot be read.
            StoreUnavailable: the whole directory is away.
        """
        if not ID.fullmatch(id):
            raise UploadNotFound(id)
        try:
            return self._records.look(self._info(id))
        except FileNotFoundError:
            raise self._missing(id) from None

    def _read(self, info: str, raw: bytes) -> Found:
        kept = decode(os.path.basename(info).removesuffix(INFO), raw)
        return Found(kept.upload, place(kept, self.directory))

    def load(self, id: str) -> Upload:
        """Return an upload with the offset that its data tell."""
        found = self.find(id)
        return measured(found.upload, self._size(found))

    def create(self, upload: Upload, content: bytes) -> None:
        """Keep a new upload with its first bytes, or nothing of it."""
        if not ID.fullmatch(upload.id):
            raise ValueError(f"{upload.id!r} is no upload's id.")
        info, data = self._info(upload.id), os.path.join(self.directory, upload.id)
        if os.path.lexists(info) or os.path.lexists(self._gone(upload.id)):
            raise UploadExists(upload.id)  # these may have no data file that would say so
        if not self._present():
            raise StoreUnavailable("its directory is away")
        try:
            self._make(upload, content, info, data)
        except FileNotFoundError as error:
            raise StoreUnavailable("its directory is away") from error

    def _make(self, upload: Upload, content: bytes, info: str, data: str) -> None:
        sync = self.durability.of_record(upload)
        with contextlib.ExitStack() as undo:
            drafted = draft(info + NEW, encode(upload, data, info), sync=sync)
            undo.callback(drop, drafted)
            self._claim(upload, data, content)
            undo.callback(drop, data)
            if upload.role is Role.FINAL:
                undo.callback(self.ledger.strike, upload.id)
                self.ledger.enlist(upload.id, upload.parts)
            os.rename(drafted, info)
            undo.callback(drop, info)
            if sync:
                sync_folder(self.directory)
            undo.pop_all()

    def save(self, upload: Upload) -> None:
        """Replace a record."""
        found = self.find(upload.id)
        refuse_overtaken(found.upload, upload)
        if upload.finished and not found.upload.finished:
            self._secure(upload, found)
        self.write(upload, found, sync=self.durability.of_record(upload))
        if upload.role is Role.FINAL and upload.closed:
            self.ledger.strike(upload.id)

    def write(self, upload: Upload, found: Found, *, sync: bool) -> None:
        """Replace a record that was found; now it is one of ours."""
        info = self._info(upload.id)
        replace_file(info, encode(upload, found.data, info), sync=sync)

    def open_data(self, found: Found) -> int:
        """Open an upload's data to write to them; ``reach.close`` closes them.

        Raises:
            LockHeld: somebody else, whose lock was lost, is still writing to them.
        """
        fd = os.open(found.data, os.O_WRONLY | (WAITING if self.waits else 0))
        try:
            self.reach.claim(fd, found.upload.id)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def remove(self, id: str) -> None:
        """Forget an upload, readable or not."""
        if not ID.fullmatch(id):
            raise UploadNotFound(id)
        try:
            os.rename(self._info(id), self._gone(id))
        except FileNotFoundError:
            raise self._missing(id) from None
        if self.durability is Durability.ALWAYS:
            sync_folder(self.directory)
        self.finish_removal(id)

    def finish_removal(self, id: str) -> None:
        """Unlink what a removal that began has to unlink; again, if it was interrupted."""
        self.ledger.strike(id)
        drop(self._data_of_gone(id))
        drop(self._gone(id))

    def bury(self, id: str) -> None:
        """Unlink the data of an upload whose bytes belong to another now."""
        with contextlib.suppress(UploadNotFound):
            found = self.find(id)
            if found.upload.taken_by is not None:
                drop(found.data)

    def finals(self, part: str) -> list[str]:
        """Return the ids of final uploads that name a partial and are not closed."""
        return [final for final in self.ledger.naming(part) if self.is_open(final)]

    def is_open(self, final: str) -> bool:
        """Whether a final upload is there, and neither finished nor failed."""
        try:
            upload = self.find(final).upload
        except StoreError:
            return False
        return not upload.closed

    def sync_data(self, fd: int, upload: Upload, durable: int) -> None:
        """Sync an upload's data before it is said that they are safe.

        After a failed sync nobody knows which bytes reached the disk, and the next sync succeeds
        nevertheless. So all that is not known to be durable is cut off: it must be sent again.

        Args:
            fd: the data file.
            upload: whose it is.
            durable: how many bytes are known to be on stable storage.
        """
        try:
            sync_file(fd)
        except OSError:
            os.ftruncate(fd, min(durable, os.fstat(fd).st_size))
            raise
        if upload.complete and not upload.finished:  # else nobody will ask
            self._synced[upload.id] = os.fstat(fd).st_mtime_ns

    def _secure(self, upload: Upload, found: Found) -> None:
        """Sync the data of an upload about to be recorded as finished, unless its last commit did;
        it did not if the process died between. A join always did."""
        synced = self._synced.pop(upload.id, None)
        if upload.role is Role.FINAL or not self.durability.ordered:
            return
        fd = os.open(found.data, os.O_WRONLY)
        try:
            if os.fstat(fd).st_mtime_ns != synced:
                self.sync_data(fd, upload, 0)
        finally:
            os.close(fd)

    def _claim(self, upload: Upload, data: str, content: bytes) -> None:
        """Make the data file, whose name nobody else can have then."""
        try:
            fd = os.open(data, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        except FileExistsError:
            raise UploadExists(upload.id) from None
        try:
            if content:
                write_whole(fd, content)
                if self.durability.of_bytes(upload):
                    self.sync_data(fd, upload, 0)
        except BaseException:
            drop(data)
            raise
        finally:
            os.close(fd)

    def _size(self, found: Found) -> int:
        if found.upload.taken_by is not None:
            return 0
        try:
            return self.reach.size(found.data)
        except FileNotFoundError:
            if found.upload.role is Role.FINAL and not found.upload.finished:
                return 0  # it can still be joined
            raise UploadNotFound(found.upload.id) from None

    def _data_of_gone(self, id: str) -> str:
        try:
            return place(decode(id, read_whole(self._gone(id))), self.directory)
        except (StoreError, FileNotFoundError):
            return os.path.join(self.directory, id)

    def _info(self, id: str) -> str:
        return f"{self.directory}/{id}{INFO}"

    def _gone(self, id: str) -> str:
        return f"{self.directory}/{id}{GONE}"

    def _missing(self, id: str) -> StoreError:
        """Tell an upload that is not there from a directory that is not: clients give up on the
        first, and an unmounted disk must not cost them their uploads."""
        return UploadNotFound(id) if self._present() else StoreUnavailable("its directory is away")

    def _present(self) -> bool:
        try:
            return self._identify() == self._identity
        except OSError:
            return False

    def _identify(self) -> tuple[int, int]:
        stat = os.stat(self.directory)
        return stat.st_dev, stat.st_ino

    def _prepare(self) -> None:
        hint = "Give a directory that this user may write to."
        try:
            os.makedirs(self.directory, FOLDER_MODE, exist_ok=True)
        except OSError as error:
            problem = f"The directory {self.directory} cannot be made: {error.strerror}."
            raise ConfigurationError(problem, hint) from error
        if not os.access(self.directory, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigurationError(f"The directory {self.directory} cannot be written to.", hint)
