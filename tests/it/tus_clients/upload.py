"""Uploads one file with tuspy. Arguments: endpoint, token, file, name, how. Prints the upload's address."""

import sys
import time
from urllib.parse import urlsplit

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

endpoint, token, path, name, how = sys.argv[1:]
client = TusClient(endpoint, headers={"Authorization": f"Bearer {token}"})


def begin():
    """tuspy tries again what breaks in the middle, and not what breaks at the beginning."""
    for _ in range(100):
        try:
            return client.uploader(
                path,
                metadata={"filename": name, "filetype": "audio/wav", "call_id": f"by {how}"},
                chunk_size=60_000,
                retries=500,
                retry_delay=0.005,
                upload_checksum=how == "checksum",
            )
        except TusCommunicationError:
            time.sleep(0.005)
    raise SystemExit("no upload could be begun")


uploader = begin()
for attempt in range(100):
    try:
        uploader.upload()
        break
    except TusCommunicationError:
        time.sleep(0.005)
print(urlsplit(uploader.url).path)
