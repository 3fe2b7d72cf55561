"""Services that answer at once: ours over gRPC, and OpenAI's over HTTP. Both run in processes of their own.

    python -m serving_load.upstreams grpc|openai PORT

The prompt of a request is the number of bytes of its image.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZES = (100, 1_500_000)
FILES = {size: os.urandom(size) for size in SIZES}


async def serve_grpc(port: int) -> None:
    """Serve ImageService and health until the process ends."""
    import grpc  # noqa: PLC0415 - the other upstream runs without it
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # noqa: PLC0415

    from tintype.v1 import image_service_pb2 as pb  # noqa: PLC0415
    from tintype.v1 import image_service_pb2_grpc as pb_grpc  # noqa: PLC0415

    def image(request: Any) -> Any:
        return pb.Image(data=FILES[int(request.prompt)], mime_type="image/png", width=1024, height=1024)

    class Instant(pb_grpc.ImageServiceServicer):
        async def GenerateImages(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
            return pb.GenerateImagesResponse(images=[image(request)], model="instant")

        async def StreamImages(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
            yield pb.StreamImagesResponse(image=image(request.generation))
            yield pb.StreamImagesResponse(completed=pb.Completed(model="instant"))

        async def ListModels(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
            return pb.ListModelsResponse(models=[pb.Model(name="instant")])

        async def GetModel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
            return pb.Model(name="instant")

        async def LoadModel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
            return pb.Model(name="instant")

        async def UnloadModel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
            return pb.Model(name="instant")

        async def UpscaleImage(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
            return pb.UpscaleImageResponse()

    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    for name in ("", "tintype.v1.ImageService"):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    pb_grpc.add_ImageServiceServicer_to_server(Instant(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def serve_openai(port: int) -> None:
    """Serve OpenAI's image generation until the process ends."""
    answers = {}
    for size, data in FILES.items():
        body = json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        answers[size] = head.encode() + body

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                writer.write(answers[int(json.loads(await reader.readexactly(length))["prompt"])])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run({"grpc": serve_grpc, "openai": serve_openai}[sys.argv[1]](int(sys.argv[2])))
