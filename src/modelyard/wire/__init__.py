"""AWS's wire protocols from botocore's service models, and the verification of requests."""
