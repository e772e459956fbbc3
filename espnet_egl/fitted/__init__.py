"""What is learnt from transcribed utterances."""
