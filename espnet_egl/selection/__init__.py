"""From scores to the utterances that are worth a budget."""
