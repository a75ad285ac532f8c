"""Commands that go over several nodes, one after another, beside the cluster's loop."""

from pgvigil.controller.errands.errands import Errands
from pgvigil.controller.errands.ground import Ground

__all__ = ["Errands", "Ground"]
