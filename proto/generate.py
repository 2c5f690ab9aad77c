"""Generates `moiety/v1` (messages, gRPC stubs and their types) from the contract in `proto/moiety/v1`.

python proto/generate.py                     writes moiety/v1
python proto/generate.py --check             compares instead; exit code 1 where moiety/v1 is stale
python proto/generate.py --descriptors FILE  also writes the contract as a descriptor set, for linters
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import grpc_tools
from google.api import field_behavior_pb2

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "proto"
PACKAGE: Final = Path("moiety/v1")
# The .proto files of google.api and google.rpc come with googleapis-common-protos, those of google.protobuf
# with grpcio-tools: nothing is vendored and nothing is fetched.
INCLUDES: Final = (
    SOURCES,
    Path(field_behavior_pb2.__file__).parents[2],
    Path(grpc_tools.__file__).parent / "_proto",
)
INIT: Final = '"""The messages and gRPC stubs of `proto/moiety/v1`. Generated: `make proto` writes this folder."""\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing to moiety/v1")
    parser.add_argument("--descriptors", type=Path, metavar="FILE", help="also write the descriptor set here")
    arguments = parser.parse_args()
    if arguments.descriptors:
        describe(arguments.descriptors)
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        if not arguments.check:
            replace(ROOT / PACKAGE, fresh)
            return 0
        stale = differing(ROOT / PACKAGE, fresh)
    for path in stale:
        print(f"{path} does not match the contract", file=sys.stderr)
    if stale:
        print("Run `make proto` and commit what it writes.", file=sys.stderr)
    return 1 if stale else 0


def generate(folder: Path) -> Path:
    """Generates the package below `folder` and gives its path."""
    plugins = Path(sys.executable).parent
    protoc(
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--python_out={folder}",
        f"--grpc_python_out={folder}",
        f"--mypy_out=quiet:{folder}",
        f"--mypy_grpc_out=quiet:{folder}",
    )
    package = folder / PACKAGE
    (package / "__init__.py").write_text(INIT)
    return package


def describe(file: Path) -> None:
    """Writes the contract, its imports and its comments to `file` as a FileDescriptorSet."""
    protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={file}")


def protoc(*options: str) -> None:
    """Runs protoc over the whole contract. Its warnings (an unused import, say) are errors."""
    files = sorted(str(path.relative_to(SOURCES)) for path in (SOURCES / PACKAGE).glob("*.proto"))
    includes = [f"--proto_path={path}" for path in INCLUDES]
    command = [sys.executable, "-m", "grpc_tools.protoc", "--fatal_warnings", *includes, *options, *files]
    if status := subprocess.run(command, check=False).returncode:
        sys.exit(status)


def differing(committed: Path, fresh: Path) -> list[Path]:
    """Names the files that are missing, superfluous or different in `committed`."""
    return sorted(
        PACKAGE / name for name in names(committed) | names(fresh) if read(committed / name) != read(fresh / name)
    )


def replace(committed: Path, fresh: Path) -> None:
    """Makes `committed` hold the files of `fresh` and no others."""
    committed.mkdir(parents=True, exist_ok=True)
    for name in names(committed) - names(fresh):
        (committed / name).unlink()
    for name in names(fresh):
        shutil.copyfile(fresh / name, committed / name)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.py*")}


def read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
