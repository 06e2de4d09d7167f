"""Amazon Comprehend: what texts say, in which language, and how they feel about it."""
