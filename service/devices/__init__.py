"""Several devices in one machine: one process for each, behind one gRPC address.

A front process has the public address with its keys and certificates. It starts a service for each device as a child
process, sends each request to one of them, and sends it to another one if the device is lost.

    choice, inventory, cpu_shares    which devices a setting means, and how a process is limited to one of them
    child, process, pool             the children: their start, health, restarts and requests
    placement                        which device gets a request or a model (pure functions)
    failures                         what the error of a call means (pure); `tintype.v1.replicas` has the rest
    union                            the models of all devices as those of one service (pure)
    api, front                       the seven calls; the process

The front imports neither numpy nor onnxruntime (docs/decisions/0018).
"""
