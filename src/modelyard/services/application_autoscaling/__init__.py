"""Application Auto Scaling for the namespace ``sagemaker``: what scales a variant, between which bounds, and what it did."""
