#!/usr/bin/env python3
"""Writes src/grpc/inference.bin, which reflection serves, from inference.proto; --check compares instead."""

import pathlib
import sys
import tempfile

from grpc_tools import protoc

DIR = pathlib.Path(__file__).resolve().parents[2] / "src/grpc"

with tempfile.TemporaryDirectory() as scratch:
    made = pathlib.Path(scratch) / "inference.bin"
    status = protoc.main(["protoc", f"-I{DIR}", f"--descriptor_set_out={made}", "inference.proto"])
    if status != 0:
        sys.exit(status)
    content = made.read_bytes()

target = DIR / "inference.bin"
if sys.argv[1:] == ["--check"]:
    if target.read_bytes() != content:
        sys.exit(f"{target} is not what inference.proto gives: run {sys.argv[0]}")
else:
    target.write_bytes(content)
