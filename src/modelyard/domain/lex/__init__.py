"""Lex V2 as values and decisions: what a bot is defined as, what it understands, what it says next."""
