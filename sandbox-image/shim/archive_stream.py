"""A compressed archive as it comes, for `tarfile` to go through once, forward.

What made it may be hostile: nothing here holds more than a few pieces of it at once, whatever the
archive claims.
"""

from collections.abc import Callable

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from shim.files import Unfit

PIECE_BYTES = 256 << 10
WINDOW_LOG = 23
"""8 MiB. Ours needs 2."""


class ArchiveStream:
    """The decompressed bytes. `more` gives the next compressed ones, nothing at their end. Raises
    Unfit: for more than `most` bytes (`too_much`), and for what is no whole archive."""

    def __init__(self, more: Callable[[], bytes], *, most: int) -> None:
        self._more = more
        self._most = most
        self._decompressor = ZstdDecompressor(
            options={DecompressionParameter.window_log_max: WINDOW_LOG}
        )
        self._ready = b""
        self._at = 0
        """Where in `_ready` reading goes on."""
        self._position = 0
        self._granted = 0
        self.last = b""
        """What was read last."""

    def grant(self, size: int) -> None:
        """So many bytes may be read from now on. `tarfile` reads headers at once, of whatever
        length they say they are."""
        self._granted = size

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        """Forward only: over what is read as well."""
        if position < self._position:
            raise Unfit("failed")
        while self._position < position:
            if not self.read(min(PIECE_BYTES, position - self._position)):
                raise Unfit("failed")

    def read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end."""
        if not 0 <= size <= self._granted:
            raise Unfit("failed")
        self._granted -= size
        pieces, left = [], size
        while left and (piece := self._some(left)):
            pieces.append(piece)
            left -= len(piece)
        self._position += size - left
        self.last = b"".join(pieces)
        return self.last

    def finish(self) -> None:
        """Read what is behind the archive's end: zeros, then nothing more."""
        while piece := self._some(PIECE_BYTES):
            if any(piece):
                raise Unfit("failed")
        if not self._decompressor.eof or self._decompressor.unused_data or self._more():
            raise Unfit("failed")

    def _some(self, size: int) -> bytes:
        if self._at == len(self._ready) and not self._fill():
            return b""
        piece = self._ready[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def _fill(self) -> bool:
        """False at the end."""
        try:
            while not self._decompressor.eof:
                given = self._more() if self._decompressor.needs_input else b""
                if not given and self._decompressor.needs_input:
                    return False
                if piece := self._decompressor.decompress(given, max_length=PIECE_BYTES):
                    self._take(piece)
                    return True
        except (ZstdError, EOFError) as error:
            raise Unfit("failed") from error
        return False

    def _take(self, piece: bytes) -> None:
        self._most -= len(piece)
        if self._most < 0:
            raise Unfit("too_much")
        self._ready, self._at = piece, 0
