"""From transcripts that come back to the next point of the learning curve."""
