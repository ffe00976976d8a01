"""An S3-compatible server of the tests' own, in a thread, on a loopback port."""

import itertools

import boto3
from moto.server import ThreadedMotoServer

from orchestrator.protocol.secret import Secret
from orchestrator.storage.blob_settings import BlobSettings

KEY, SECRET = "an-id-of-the-tests", "a-secret-of-the-tests"


class S3Server:
    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._numbers = itertools.count()

    def start(self) -> None:
        self._server.start()
        _, port = self._server.get_host_and_port()
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._server.stop()

    def client(self):
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def new_bucket(self, **changes) -> BlobSettings:
        """The settings of a new and empty one."""
        name = f"bucket-{next(self._numbers)}"
        self.client().create_bucket(Bucket=name)
        return BlobSettings(
            **{
                "s3_bucket": name,
                "s3_endpoint": self.url,
                "s3_key_id": Secret(KEY),
                "s3_secret": Secret(SECRET),
                "retries": 5,  # this server stumbles over puts of one object at once
                **changes,
            }
        )
