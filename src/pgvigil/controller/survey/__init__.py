"""One look at a cluster that changes nothing: is it ready (`check`), and what is it (`discover`)."""

from pgvigil.controller.survey.check import check_cluster

__all__ = ["check_cluster"]
