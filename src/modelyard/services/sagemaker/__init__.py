"""SageMaker's control plane, a module for each family of resources."""
