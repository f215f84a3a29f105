#!/usr/bin/env python3
"""Prints the licences and notices of all that is linked into promptd, as these licences ask of who passes it on.

Each text once, under the names of those whose it is. Reads `cargo metadata`; the crates must have been fetched.
"""

import json
import subprocess
from pathlib import Path

BEGINNINGS = ("license", "licence", "copying", "notice", "copyright", "unlicense")
# Crates that carry the sources of something else, with its own licence.
INNER = {"llama-cpp-sys-2": "llama.cpp"}


def output(*command):
    root = Path(__file__).resolve().parent.parent
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root).stdout


def linked_packages():
    host = output("rustc", "-vV").split("host: ")[1].split()[0]
    metadata = json.loads(output("cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", host))
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, ahead = set(), [metadata["resolve"]["root"]]
    while ahead:
        for dependency in nodes[ahead.pop()]["deps"]:
            # A kind of null is a dependency of the program itself, not of its tests or build scripts.
            program = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if program and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                ahead.append(dependency["pkg"])
    return [package for package in metadata["packages"] if package["id"] in found]


def texts(folder):
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.lower().startswith(BEGINNINGS))
    return [path.read_text(errors="replace").strip() for path in files]


def main():
    owners = {}
    for package in linked_packages():
        name = f"{package['name']} {package['version']} ({package['license']})"
        folder = Path(package["manifest_path"]).parent
        for text in texts(folder) or ["The crate has no file with its licence; see its name above."]:
            owners.setdefault(text, []).append(name)
        if inner := INNER.get(package["name"]):
            for text in texts(folder / inner):
                owners.setdefault(text, []).append(f"{inner} in {name}")
    print("promptd is linked with what is named here. Each licence stands below the names of those whose it is.")
    for text, names in owners.items():
        print("\n" + "=" * 100 + "\n" + "\n".join(sorted(set(names))) + "\n" + "-" * 100 + "\n\n" + text)


if __name__ == "__main__":
    main()
