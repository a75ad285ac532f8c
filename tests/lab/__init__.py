"""Hosts as network namespaces with real sshd and PostgreSQL, faults for them, and a writer that remembers.

Used by `bench` and `tests/faults`. Needs root; touches only namespaces and processes it made itself.
"""

from tests.lab.cluster import Cluster, await_that
from tests.lab.faults import Fault
from tests.lab.host import LabHost
from tests.lab.lab import Lab, end
from tests.lab.netns import LabError
from tests.lab.writer import Ack, Writer

__all__ = ["Ack", "Cluster", "Fault", "Lab", "LabError", "LabHost", "Writer", "await_that", "end"]
