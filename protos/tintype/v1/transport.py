"""What both ends of a gRPC connection must agree on: names, message size and keepalive.

The service uses it as the server, gateway and command line as clients.
"""

from __future__ import annotations

from . import image_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ImageService"].full_name

REQUEST_ID = "x-request-id"
"""Name of the metadata with the id of a call; the trailing metadata repeats it."""

MAX_MESSAGE = 64 * 2**20
"""Maximum size of a message in bytes, in both directions: ten PNGs of 1024x1024 take 20 MB."""

MESSAGE_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
)

KEEPALIVE_OPTIONS = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))
"""Keepalive pings, which both ends send to detect lost connections; the gateway sends more. The service allows one
every 5 s."""
