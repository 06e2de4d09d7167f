"""Members of the progress that a worker gives with its ``ready`` report, beside the names of its libraries."""

EXECUTION_PARAMETERS = "execution_parameters"
"""What the container answered to ``GET /execution-parameters``, decoded from JSON; absent if it did not.

Read by ``domain.transform.execution_parameters``, which takes nothing from an answer that makes no sense.
"""
LOADED_MODELS = "loaded_models"
"""How many models a worker of a multi-model endpoint has in memory; it reports again whenever that changes."""
TAKES_ARRAYS = "takes_arrays"
"""Of a model whose rows never depend on each other, and which takes and gives ``application/x-npy``: ``<f4`` if it makes
float32 of every number, else ``<f8``; of other models the empty text, or nothing."""
