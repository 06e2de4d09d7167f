"""Amazon Translate: texts and documents in another language, with terms of the user's own."""
