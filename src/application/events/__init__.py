"""Events: management, queries, reviews, messages to participants."""
