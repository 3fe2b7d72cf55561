"""Generated from image_service.proto by `make protos`; see there for what each field means."""
