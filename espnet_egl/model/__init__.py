"""The one seam to ESPnet: its models loaded, encoded, searched. A new kind of model is one file."""
