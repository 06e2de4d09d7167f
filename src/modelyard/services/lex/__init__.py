"""Lex V2: bots that are built here, and conversations with them."""
