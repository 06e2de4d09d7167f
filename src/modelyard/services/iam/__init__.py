"""IAM: users, their keys, roles and policies of an account. Stored and listed as AWS does; not yet evaluated."""
