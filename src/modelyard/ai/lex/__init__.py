"""What a bot of Lex V2 understands: learned of its utterances, and asked as a hosted model."""
