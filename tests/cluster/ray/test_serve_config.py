"""The configuration of Serve in a manifest, as Ray reads it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tintype.cluster.config import ClusterConfig
from tintype.cluster.manifest import serve_config
from tintype.service.config import ServiceConfig

pytestmark = pytest.mark.slow

READ = """
import json, sys
from ray.serve.schema import ServeDeploySchema
from ray._common.utils import import_attr

schema = ServeDeploySchema.model_validate(json.load(sys.stdin))
(application,) = schema.applications
built = import_attr(application.import_path)(application.args)
print(built._bound_deployment.ray_actor_options["num_cpus"], schema.grpc_options.port)
"""


def test_serve_reads_it() -> None:
    """Serve accepts the configuration, and builds the application from it."""
    config = serve_config(ServiceConfig(), ClusterConfig(replicas="0..4", cpus=3, ingress_port=9100))
    done = subprocess.run(
        [sys.executable, "-P", "-c", READ], input=json.dumps(config), capture_output=True, text=True, check=False
    )
    assert [float(word) for word in done.stdout.split()] == [3, 9100], done.stderr
