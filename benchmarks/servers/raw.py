"""The limit of a Python process: uvloop, httptools, the model in the same process, one predict for all that waits.

No platform around it: no endpoints, no signatures, no deadlines, no second process. ``raw.py MODEL (PORT|SOCKET)``.
"""

import asyncio
import json
import sys
from typing import Any

import httptools
import numpy as np
import onnxruntime
import uvloop


class Raw(asyncio.Protocol):
    waiting: list[tuple["Raw", bytes]] = []  # noqa: RUF012 - one process, one queue
    session: Any
    name: str

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        if not Raw.waiting:
            asyncio.get_running_loop().call_soon(Raw.predict)
        Raw.waiting.append((self, self.body))

    @classmethod
    def predict(cls) -> None:
        batch, cls.waiting = cls.waiting, []
        rows = np.array([json.loads(body)["instances"][0] for _, body in batch], np.float32)
        found = np.ravel(cls.session.run(None, {cls.name: rows})[0]).tolist()
        for (client, _), value in zip(batch, found, strict=True):
            body = b'{"predictions": [%r]}' % value
            client.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )


async def main(model: str, where: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    Raw.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    Raw.name = Raw.session.get_inputs()[0].name
    loop = asyncio.get_running_loop()
    server = await (
        loop.create_server(Raw, "127.0.0.1", int(where), reuse_port=True)
        if where.isdigit()
        else loop.create_unix_server(Raw, where)
    )
    await server.serve_forever()


uvloop.run(main(sys.argv[1], sys.argv[2]))
