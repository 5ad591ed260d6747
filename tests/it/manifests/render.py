"""Builds a kustomization and holds what comes out to the schemas of Kubernetes.

render.py DIRECTORY: prints the resources as JSON; what is wrong goes to stderr, and the exit code is 1.

The builder is kustomize's own library, out of a wheel for x86-64; elsewhere `kustomize` or `kubectl kustomize` is called.
Kinds of the Prometheus operator have no schema here: the test that calls this looks at them itself.
"""

import ctypes
import glob
import json
import os
import shutil
import subprocess
import sys

import kubernetes_validate
import yaml

VERSIONS = ["1.30", kubernetes_validate.latest_version()]
FOREIGN = {"ServiceMonitor", "PrometheusRule"}


def build(directory):
    library = glob.glob(os.path.join(os.environ["KUSTOMIZE"], "pykustomize/_lib/linux-amd64/libpykustomize.so"))
    if library and os.uname().machine == "x86_64":
        return build_with(ctypes.CDLL(library[0]), directory)
    for program in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(program[0]):
            return subprocess.run([*program, directory], check=True, capture_output=True, text=True).stdout
    raise SystemExit("neither the library nor 'kustomize' nor 'kubectl' is there")


def build_with(library, directory):
    library.pykustomize_last_error.restype = ctypes.c_char_p
    built = ctypes.c_char_p()
    if library.pykustomize_build(directory.encode(), b"{}", ctypes.byref(built)) != 0:
        raise SystemExit(library.pykustomize_last_error().decode())
    return built.value.decode()


def faults(resource):
    place = f"{resource.get('kind')} {resource.get('metadata', {}).get('name')}"
    if resource.get("kind") in FOREIGN:
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            yield f"{place} ({version}): {path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{place}: {error.message}"


resources = [resource for resource in yaml.safe_load_all(build(sys.argv[1])) if resource]
found = [fault for resource in resources for fault in faults(resource)]
if found:
    raise SystemExit("\n".join(found))
json.dump(resources, sys.stdout)
