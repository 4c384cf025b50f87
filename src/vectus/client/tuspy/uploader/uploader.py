"""The two uploaders: the same steps, done blocking and with asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from vectus.client.tuspy.exceptions import TusCommunicationError
from vectus.client.tuspy.request import AsyncTusRequest, TusRequest
from vectus.client.tuspy.uploader import course
from vectus.client.tuspy.uploader.baseuploader import BaseUploader
from vectus.client.tuspy.uploader.course import Act, Rest, Steps


class Uploader(BaseUploader):
    """Uploads a file; see ``BaseUploader`` for the arguments."""

    def upload(self, stop_at: int | None = None) -> None:
        """Upload until the end of the file, or until the offset ``stop_at``.

        Raises:
            TusCommunicationError: it could not be made, or the server does not say how far it is.
            TusUploadFailed: a chunk did not get through.
        """
        self._run(course.whole(self, stop_at))

    def upload_chunk(self) -> None:
        """Upload the next chunk, making the upload first where there is none.

        Raises:
            TusCommunicationError: it could not be made, or the server does not say how far it is.
            TusUploadFailed: the chunk did not get through.
        """
        self._run(course.chunk(self))

    def create_url(self) -> str:
        """Make an upload, and return its URL.

        Raises:
            TusCommunicationError: the server makes none.
        """
        return self._read_url(self._connection.send(self._creating()))

    def _run(self, steps: Steps) -> None:
        try:
            step = next(steps)
            while True:
                try:
                    reply = self._do(step)
                except TusCommunicationError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration:
            return
        except BaseException:
            self._connection.close()
            raise

    def _do(self, step: Act | Rest) -> Any:
        match step:
            case Act.CREATE:
                return self.create_url()
            case Act.ASK:
                return self.get_offset()
            case Act.SEND:
                self.request = request = TusRequest(self)
                request.perform()
            case Act.CLOSE:
                self._connection.close()
            case Rest(seconds):
                time.sleep(seconds)
        return None


class AsyncUploader(BaseUploader):
    """Uploads a file with asyncio; see ``BaseUploader`` for the arguments.

    The constructor and ``get_offset`` block, as tuspy's do; nothing else does.
    """

    async def upload(self, stop_at: int | None = None) -> None:
        """Upload until the end of the file, or until the offset ``stop_at``.

        Raises:
            TusCommunicationError: it could not be made, or the server does not say how far it is.
            TusUploadFailed: a chunk did not get through.
        """
        await self._run(course.whole(self, stop_at))

    async def upload_chunk(self) -> None:
        """Upload the next chunk, making the upload first where there is none.

        Raises:
            TusCommunicationError: it could not be made, or the server does not say how far it is.
            TusUploadFailed: the chunk did not get through.
        """
        await self._run(course.chunk(self))

    def get_offset(self) -> int:
        """Ask the server how far the upload is; blocks.

        Raises:
            TusCommunicationError: it does not say.
        """
        try:
            return super().get_offset()
        finally:
            self._connection.close()

    async def create_url(self) -> str:
        """Make an upload, and return its URL.

        Raises:
            TusCommunicationError: the server makes none.
        """
        return self._read_url(await self._aconnection.send(self._creating()))

    async def _run(self, steps: Steps) -> None:
        try:
            step = next(steps)
            while True:
                try:
                    reply = await self._do(step)
                except TusCommunicationError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration:
            return
        except BaseException:
            await self._aconnection.close()
            raise

    async def _do(self, step: Act | Rest) -> Any:
        match step:
            case Act.CREATE:
                return await self.create_url()
            case Act.ASK:
                return self._read_offset(await self._aconnection.send(self._asking()))
            case Act.SEND:
                self.request = request = AsyncTusRequest(self)
                await request.perform()
            case Act.CLOSE:
                await self._aconnection.close()
            case Rest(seconds):
                await asyncio.sleep(seconds)
        return None
