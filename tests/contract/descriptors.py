"""Writes what PyPI's gitpod-sdk knows of the API to stdout: a serialized google.protobuf.FileDescriptorSet."""

import importlib
import pkgutil
import sys

from google.protobuf import descriptor_pb2

import gitpod.v1
import supervisor.v1


def add(file, to, seen):
    """Adds a file after the files that it imports, each once."""
    if file.name in seen:
        return
    seen.add(file.name)
    for imported in file.dependencies:
        add(imported, to, seen)
    file.CopyToProto(to.file.add())


def main():
    descriptors, seen = descriptor_pb2.FileDescriptorSet(), set()
    for package in (gitpod.v1, supervisor.v1):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if module.name.endswith("_pb2"):
                add(importlib.import_module(module.name).DESCRIPTOR, descriptors, seen)
    sys.stdout.buffer.write(descriptors.SerializeToString())


if __name__ == "__main__":
    main()
