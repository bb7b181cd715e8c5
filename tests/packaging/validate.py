"""Validates YAML against published schemas and prints what it read as one JSON array.

`kubernetes` reads manifests from standard input and checks each against Kubernetes' own schema, strictly; `compose SCHEMA
FILE` checks a Compose file against the Compose Specification."""

import json
import sys

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.30"


def manifests() -> None:
    found = [document for document in yaml.safe_load_all(sys.stdin) if document]
    for document in found:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    print(json.dumps(found))


def compose(schema: str, file: str) -> None:
    with open(schema, encoding="utf-8") as text:
        validator = jsonschema.Draft7Validator(json.load(text))
    with open(file, encoding="utf-8") as text:
        document = yaml.safe_load(text)
    validator.validate(document)
    print(json.dumps([document]))


if __name__ == "__main__":
    {"kubernetes": manifests, "compose": compose}[sys.argv[1]](*sys.argv[2:])
