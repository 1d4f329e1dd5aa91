"""STAGE serving: a run's served model as TensorFlow SavedModels that answer like its published table.

Importing this package loads no TensorFlow; `write` does.
"""

from recbatch.serving.tables import FORMS, INDEXES, Histories, Ladder, Members, ServingTables
from recbatch.serving.writing import version_of, write

__all__ = ["FORMS", "INDEXES", "Histories", "Ladder", "Members", "ServingTables", "version_of", "write"]
