"""The service in a Ray cluster: the calls of `tintype.service` as a deployment of Ray Serve.

    config       the settings: replicas, what each reserves, how requests reach them
    context      what Ray's context of a call lacks for the servicer of `tintype.service`
    replica      one replica: models, device, the seven calls, health
    app          the application of Ray Serve that these settings describe
    run          start, describe and stop it
    manifest     a Kubernetes manifest for KubeRay

Only `replica`, `app` and `run` import Ray, which is the extra `cluster` (docs/decisions/0021).
"""
