#!/usr/bin/env python3
"""Whether a node does what the interface says, asked with the plain clients that others use.

    conformance.py --port PORT --secrets FOLDER

The broker on that port has the rights of packaging/mosquitto: the devices `dev` and `spy`, the monitor `mon`, the operator `alice`,
the binding `plc` and the node `gw2`, whose passwords lie in FOLDER. The node `gw` has the models `main` and `embedder`, the group
`hall`, a binding from plant/plc/text to plant/plc/answer and a clock that is set. tests/e2e/conformance.rs makes all of that.
"""
import argparse
import pathlib
import sys

import fields
import programs
import roles
from clients import Device, Failed

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Broker:
    """Where it is, and who may come."""

    def __init__(self, port, secrets):
        self.port = port
        self.secrets = secrets

    def password(self, user):
        return (self.secrets / user).read_text().strip()


def main():
    options = argparse.ArgumentParser(description="Conformance of a node")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--secrets", type=pathlib.Path, required=True)
    options = options.parse_args()
    broker = Broker(options.port, options.secrets)
    try:
        fields.run(Device(broker, "dev"), (ROOT / "README.md").read_text())
        programs.run(broker)
        roles.run(broker)
    except Failed as failed:
        sys.exit(f"conformance: {failed}")


if __name__ == "__main__":
    main()
