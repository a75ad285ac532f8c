"""One look at a cluster that changes nothing: is it ready (`check`), and what is it (`discover`)."""

from pgvigil.controller.survey.check import check_cluster
from pgvigil.controller.survey.check_endpoints import check_endpoints
from pgvigil.controller.survey.describe import Discovered
from pgvigil.controller.survey.discover import discover, likely_shell

__all__ = ["Discovered", "check_cluster", "check_endpoints", "discover", "likely_shell"]
