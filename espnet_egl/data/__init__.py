"""Reading the pool: Kaldi files, audio, and ESPnet's data types."""
