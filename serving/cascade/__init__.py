"""One call over the servers of several stages: retrieval finds items, later stages order what is left."""

from serving.cascade.cascade import Cascade, CascadeAnswer
from serving.cascade.config import CascadeConfig, StageConfig, load_cascade
from serving.cascade.stage import Candidates, StageAnswer

__all__ = ["Candidates", "Cascade", "CascadeAnswer", "CascadeConfig", "StageAnswer", "StageConfig", "load_cascade"]
