"""What the AI services ask of models: packs and where they come from, engines that a worker loads, questions and answers."""
