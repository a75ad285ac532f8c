"""pgvigil: a controller on the fourth host, over SSH and SQL."""

from bench.compare.system import Kind, Services, three_nodes
from tests.faults.product import Product, Sections
from tests.lab import Cluster, Lab, LabHost

SSHD = {"/usr/sbin/sshd": "openssh-server"}


class Pgvigil:
    """The controller of this checkout. Servers are started at boot, as by their own service."""

    def __init__(self, lab: Lab, sections: Sections) -> None:
        self.cluster: Cluster
        self.cluster, decider = three_nodes(lab)
        self._product = Product(self.cluster, sections, host=decider)
        self._services = Services(lab.dir)
        self._services.add_servers_for_boot(self.cluster)

    def start(self) -> None:
        self._product.start()

    def is_content(self) -> bool:
        return self._product.is_content()

    def boot(self, host: LabHost) -> None:
        self._services.boot(host)

    def switchover(self, to: LabHost) -> None:
        self._product.switchover(to)

    def last_words(self) -> str:
        return self._product.explain(Exception("pgvigil"))


KINDS = (
    Kind("pgvigil", "default", "none", SSHD, lambda lab: Pgvigil(lab, {})),
    Kind(
        "pgvigil",
        "quorum",
        "`protection: quorum` (synchronous)",
        SSHD,
        lambda lab: Pgvigil(lab, {"protection": "quorum"}),
    ),
)
