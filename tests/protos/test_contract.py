"""The contract: every field is documented, and stubs and released clients match it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tintype.v1 import image_service_pb2 as pb

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "protos/tintype/v1/image_service.proto"
RELEASED = ROOT / "protos/image_service.binpb"
DECLARATION = re.compile(r"\s*(message|enum|service|rpc|oneof|optional|repeated|[\w.]+ \w+ = \d+;|[A-Z_]+ = \d+;)")


@pytest.fixture
def buf() -> str:
    """Return the path of buf, of this environment or another."""
    found = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    if found is None:
        pytest.skip("needs buf")
    return found


def run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False)


def test_everything_has_a_comment() -> None:
    """Each message, field, call, enum and value has a comment in the line above it."""
    lines = PROTO.read_text().splitlines()
    bare = [line for above, line in pairwise(lines) if DECLARATION.match(line) and "//" not in above]
    assert not bare
    assert sum(bool(DECLARATION.match(line)) for line in lines) > len(pb.DESCRIPTOR.message_types_by_name) * 3


def test_numbers_are_signed_and_images_are_bytes() -> None:
    """Integers are signed, because many languages have no unsigned ones; files are bytes, never base64 text."""
    fields = [field for message in pb.DESCRIPTOR.message_types_by_name.values() for field in message.fields]
    unsigned = {field.TYPE_UINT32 for field in fields} | {field.TYPE_UINT64 for field in fields}
    assert not [field.full_name for field in fields if field.type in unsigned]
    files = {"data", "image", "mask"}
    assert all(field.type in {field.TYPE_BYTES, field.TYPE_MESSAGE} for field in fields if field.name in files)


def test_options_for_other_languages() -> None:
    """The contract names its package for Go, Java and C#, so that their stubs can be generated without changes."""
    options = pb.DESCRIPTOR.GetOptions()
    assert options.go_package == "tintype/v1;tintypev1"
    assert (options.java_package, options.java_multiple_files) == ("tintype.v1", True)
    assert options.csharp_namespace == "Tintype.V1"


def test_contract_passes_buf_lint(buf: str) -> None:
    """`buf lint` finds nothing."""
    linted = run(buf, "lint")
    assert linted.returncode == 0, linted.stdout.decode()


def test_contract_is_compatible_with_the_release(buf: str) -> None:
    """`buf breaking` against the released contract finds nothing."""
    compared = run(buf, "breaking", "--against", str(RELEASED))
    assert compared.returncode == 0, compared.stdout.decode()


def test_stubs_match_the_contract(buf: str) -> None:
    """The committed stubs have the same descriptor as the contract."""
    built = run(buf, "build", "--exclude-source-info", "--output", "-#format=binpb")
    files = {file.name: file for file in FileDescriptorSet.FromString(built.stdout).file}
    assert plain(files[pb.DESCRIPTOR.name]) == plain(FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb))


def plain(file: FileDescriptorProto) -> FileDescriptorProto:
    """Return `file` without JSON names, which protoc omits if they are the default."""
    for message in file.message_type:
        for part in (message, *message.nested_type):  # entries of maps are nested messages
            for field in part.field:
                field.ClearField("json_name")
    file.DiscardUnknownFields()  # extensions of buf
    return file


def test_stubs_load_without_a_warning() -> None:
    """Protobuf and grpc do not warn about the versions that generated the stubs."""
    code = "import tintype.v1.image_service_pb2, tintype.v1.image_service_pb2_grpc"
    loaded = run(sys.executable, "-W", "error", "-c", code)
    assert loaded.returncode == 0, loaded.stderr.decode()
