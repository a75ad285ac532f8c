"""Prints what a package of ours consists of, as CycloneDX JSON.

`python package/sbom.py DIRECTORY`, where the packages of Python lie. Files of others that come with our own
(VENDORED.txt) are parts, too.
"""

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.hash.factories import HashTypeFactory
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

VENDORED = "pgvigil/web/static/vendor"
LICENCES = LicenseFactory()


def bill_of(place: Path) -> Bom:
    """All that lies there. Raises LookupError if pgvigil does not."""
    bom = Bom()
    for found in sorted(distributions(path=[str(place)]), key=lambda each: each.name):
        component = _of_python(found)
        if found.name == "pgvigil":
            bom.metadata.component = component
        else:
            bom.components.add(component)
    if bom.metadata.component is None:
        raise LookupError(f"no pgvigil in {place}")
    bom.components.update(_vendored(place / VENDORED))
    parts = list(bom.components)
    bom.register_dependency(bom.metadata.component, parts)
    return bom


def _of_python(found: Distribution) -> Component:
    name, version = found.name.lower().replace("_", "-"), found.version
    stated = next(
        (found.metadata[key] for key in ("License-Expression", "License") if key in found.metadata), ""
    )
    licences = [LICENCES.make_from_string(stated)] if stated and "\n" not in stated else []
    if not licences:
        names = [e for e in found.metadata.get_all("Classifier") or [] if e.startswith("License :: ")]
        licences = [LICENCES.make_with_name(each.rpartition(" :: ")[2]) for each in names]
    kind = ComponentType.APPLICATION if name == "pgvigil" else ComponentType.LIBRARY
    url = PackageURL("pypi", name=name, version=version)
    return Component(name=name, version=version, type=kind, licenses=licences, purl=url, bom_ref=str(url))


def _vendored(place: Path) -> Iterator[Component]:
    for line in (place / "VENDORED.txt").read_text().splitlines()[2:]:
        file, name, version, licence, sha256 = line.split()
        yield Component(
            name=name,
            version=version,
            type=ComponentType.FILE,
            licenses=[LICENCES.make_from_string(licence.replace(",", " AND "))],
            hashes=[HashTypeFactory().from_composite_str(f"sha256:{sha256}")],
            bom_ref=f"{VENDORED}/{file}",
        )


if __name__ == "__main__":
    print(JsonV1Dot6(bill_of(Path(sys.argv[1]))).output_as_string(indent=2))  # its purpose
