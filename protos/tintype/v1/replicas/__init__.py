"""One request, and one list of models, over several servers of the contract: devices of a service, or replicas."""
