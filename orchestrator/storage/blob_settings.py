"""Where the archives of checkpoints are kept."""

from pathlib import Path

import msgspec

from orchestrator.protocol.secret import Secret


class BlobSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files of checkpoints are kept: in a directory, or in an S3-compatible store where
    `s3_bucket` names one."""

    directory: Path | None = None
    """Of the blobs. None: `blobs` in the data directory. With S3 what is on its way there passes
    through it: room for a few checkpoints."""
    s3_bucket: str = ""
    """Its name. It is not made here: it has to be there."""
    s3_endpoint: str = ""
    """E.g. `https://minio.example.org:9000`. Empty: Amazon's own, in the region."""
    s3_region: str = "us-east-1"
    """Of the bucket; most other stores take any."""
    s3_key_id: Secret = Secret("")
    """Secret. Empty: what the machine itself is allowed (an instance's or a container's role)."""
    s3_secret: Secret = Secret("")
    """Secret. Belongs to the key id."""
    s3_prefix: str = "casemate/"
    """Before the name of each object, so that others may use the bucket, too."""
    s3_ca_path: Path | None = None
    """A PEM file with further certificate authorities that the endpoint's certificate may be of."""
    connect_seconds: float = 10.0
    """S3: for a connection."""
    read_seconds: float = 30.0
    """S3: without a byte of an answer; then the connection is given up."""
    request_seconds: float = 300.0
    """S3: for one request (a part of 8 MiB, or all of a download). A slow line needs more."""
    put_seconds: float = 1800.0
    """S3: for storing one blob, with all tries."""
    retries: int = 3
    """S3: of a request, after errors that may pass."""

    def __post_init__(self) -> None:
        if bool(self.s3_key_id) != bool(self.s3_secret):
            raise ValueError("S3_KEY_ID and S3_SECRET belong together")
        if self.s3_endpoint and not self.s3_endpoint.startswith(("http://", "https://")):
            raise ValueError("S3_ENDPOINT has to begin with https:// (or http://)")
        if self.s3_endpoint and not self.s3_bucket:
            raise ValueError("S3_ENDPOINT needs S3_BUCKET")
